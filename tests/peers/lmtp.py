"""An LMTP client (RFC 2033) that sends a message's bytes exactly as they are given."""

import re
import socket
from typing import NamedTuple


class Reply(NamedTuple):
    """One reply: its code, and its text with the lines joined by a newline."""

    code: int
    text: str

    @property
    def kept(self) -> bool:
        """True for a 2xx reply."""
        return 200 <= self.code < 300


def crlf_lines(message: bytes) -> bytes:
    """The message with every line ended by CRLF, the last one too; a bare CR stays."""
    lines = re.sub(rb"\r?\n", b"\r\n", message)
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


class Lmtp:
    """One session. Loopback only."""

    def __init__(self, port: int, timeout: float = 60.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")
        self.greeting = self.reply()
        self.capabilities = self.command("LHLO peer.example").text.upper().split("\n")

    def reply(self) -> Reply:
        """The next reply; ConnectionError when the session is over."""
        lines = []
        while True:
            line = self.stream.readline(16384)
            if not line.endswith(b"\n"):
                raise ConnectionError("the server closed the session")
            line = line.rstrip(b"\r\n").decode("utf-8", "replace")
            lines.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), "\n".join(lines))

    def command(self, line: str) -> Reply:
        """Sends one command line and returns its reply."""
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def _envelope(self, sender, recipients, parameters) -> tuple[list[str], dict[str, Reply]]:
        mail = self.command(f"MAIL FROM:<{sender or ''}>{parameters}")
        if not mail.kept:
            return [], {recipient: mail for recipient in recipients}
        replies = {recipient: self.command(f"RCPT TO:<{recipient}>") for recipient in recipients}
        return [recipient for recipient in recipients if replies[recipient].kept], replies

    def deliver(self, sender, recipients, message: bytes) -> dict[str, Reply]:
        """Delivers by DATA. `message` must end in CRLF. Returns each recipient's last reply."""
        assert message.endswith(b"\r\n"), "DATA carries whole lines"
        eight_bit = " BODY=8BITMIME" if any(byte > 127 for byte in message) else ""
        accepted, replies = self._envelope(sender, recipients, eight_bit)
        if not accepted:
            self.command("RSET")
            return replies
        go = self.command("DATA")
        if go.code != 354:
            return replies | {recipient: go for recipient in accepted}
        stuffed = (b"." if message.startswith(b".") else b"") + message.replace(b"\r\n.", b"\r\n..")
        self.socket.sendall(stuffed + b".\r\n")
        return replies | {recipient: self.reply() for recipient in accepted}

    def deliver_chunked(self, sender, recipients, message: bytes, chunk: int = 65536) -> dict[str, Reply]:
        """Delivers any bytes at all by BDAT (RFC 3030). Returns each recipient's last reply."""
        accepted, replies = self._envelope(sender, recipients, " BODY=BINARYMIME")
        if not accepted:
            self.command("RSET")
            return replies
        rest = message
        while len(rest) > chunk:
            self.socket.sendall(b"BDAT %d\r\n" % chunk + rest[:chunk])
            answer = self.reply()
            if not answer.kept:
                return replies | {recipient: answer for recipient in accepted}
            rest = rest[chunk:]
        self.socket.sendall(b"BDAT %d LAST\r\n" % len(rest) + rest)
        return replies | {recipient: self.reply() for recipient in accepted}

    def quit(self) -> None:
        """Ends the session politely."""
        try:
            self.command("QUIT")
        except OSError:
            pass
        self.socket.close()
