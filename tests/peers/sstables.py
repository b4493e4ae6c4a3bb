"""What stands in Cassandra's compressed files."""

import pathlib
import struct


def uncompressed(info_file: pathlib.Path) -> bytes:
    """The data file to which this CompressionInfo.db belongs."""
    info = info_file.read_bytes()
    length = struct.unpack_from(">H", info)[0]
    name, at = info[2 : 2 + length].decode(), 2 + length
    (options,) = struct.unpack_from(">I", info, at)
    at += 4
    for _ in range(2 * options):
        at += 2 + struct.unpack_from(">H", info, at)[0]
    # The length of a chunk, and from which on one is left as it is.
    _, most, total, count = struct.unpack_from(">iiqi", info, at)
    offsets = struct.unpack_from(f">{count}q", info, at + 20)
    assert name == "LZ4Compressor", f"{info_file} is compressed by {name}"
    data = info_file.with_name(info_file.name.replace("CompressionInfo.db", "Data.db")).read_bytes()
    chunks = []
    for begin, end in zip(offsets, (*offsets[1:], len(data))):
        # A checksum follows each.
        chunk = data[begin : end - 4]
        chunks.append(lz4_block(chunk[4:]) if len(chunk) < most else chunk)
    content = b"".join(chunks)
    assert len(content) == total, f"{info_file}: {len(content)} octets, not {total}"
    return content


def lz4_block(block: bytes) -> bytes:
    out, at = bytearray(), 0

    def count(nibble: int) -> int:
        nonlocal at
        total = nibble
        while nibble == 15:
            total += block[at]
            at += 1
            if block[at - 1] != 255:
                break
        return total

    while at < len(block):
        token = block[at]
        at += 1
        literals = count(token >> 4)
        out += block[at : at + literals]
        at += literals
        # The last sequence has no copy.
        if at == len(block):
            break
        distance = block[at] | block[at + 1] << 8
        at += 2
        length = count(token & 15) + 4
        begin = len(out) - distance
        while length > 0:
            piece = out[begin : begin + length]
            out += piece
            length -= len(piece)
    return bytes(out)
