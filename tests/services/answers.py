"""What a client asks a server in order to know that it serves: each returns, or raises OSError or ValueError."""

import base64
import http.client
import json
import socket
import ssl
import struct

SECONDS = 5.0

ONE, ALL = 0x0001, 0x0005

TLS = ssl.SSLContext | None
# A name and a password.
Login = tuple[str, str] | None


def connect(host: str, port: int, tls: TLS = None, seconds: float = SECONDS) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=seconds)
    return tls.wrap_socket(connection, server_hostname=host) if tls else connection


def cassandra(
    host: str, port: int, query: str, consistency: int, seconds: float = SECONDS, tls: TLS = None, login: Login = None
) -> bytes:
    """What a query in the native protocol, version 4, yields."""
    with connect(host, port, tls, seconds) as connection:
        # STARTUP, answered by READY or by AUTHENTICATE.
        start = struct.pack(">H", 1) + text("CQL_VERSION") + text("3.0.0")
        expect_frame(connection, 0x01, start, 0x03 if login else 0x02)
        if login:
            # AUTH_RESPONSE, answered by AUTH_SUCCESS.
            words = plain(login)
            expect_frame(connection, 0x0F, struct.pack(">I", len(words)) + words, 0x10)
        # QUERY, answered by RESULT.
        body = struct.pack(">I", len(query)) + query.encode() + struct.pack(">HB", consistency, 0)
        return expect_frame(connection, 0x07, body, 0x08)


def expect_frame(connection: socket.socket, code: int, body: bytes, expected: int) -> bytes:
    connection.sendall(struct.pack(">BBHBI", 0x04, 0, 0, code, len(body)) + body)
    _, _, _, got, length = struct.unpack(">BBHBI", exactly(connection, 9))
    answer = exactly(connection, length)
    if got != expected:
        raise ValueError(f"CQL answered {got:#04x}: {answer[6:].decode(errors='replace') if got == 0 else ''}")
    return answer


def elasticsearch(host: str, port: int, path: str, tls: TLS = None, login: Login = None) -> dict:
    """The JSON of a GET."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    headers = {}
    if tls:
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=tls)
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise ValueError(f"no HTTP: {error!r}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"{path} answered {answer.status}")
    return json.loads(body)


def rabbitmq(host: str, port: int, tls: TLS = None, login: Login = None) -> None:
    """Logs in with AMQP 0-9-1, as RabbitMQ's guest unless told otherwise."""
    with connect(host, port, tls) as connection:
        log_in(connection, login)
        send_method(connection, 50, struct.pack(">H", 200) + short("") + struct.pack(">HH", 0, 0))
        expect_method(connection, 51)  # closed


def log_in(connection: socket.socket, login: Login = None) -> None:
    """The start of AMQP 0-9-1, to the opened virtual host."""
    connection.sendall(b"AMQP\x00\x00\x09\x01")
    expect_method(connection, 10)  # start
    words = plain(login or ("guest", "guest"))
    answer = struct.pack(">I", 0) + short("PLAIN") + struct.pack(">I", len(words)) + words + short("en_US")
    send_method(connection, 11, answer)
    expect_method(connection, 30)  # tune
    send_method(connection, 31, struct.pack(">HIH", 1, 131072, 0))
    send_method(connection, 40, short("/") + b"\x00\x00")
    expect_method(connection, 41)  # open


def send_method(connection: socket.socket, method: int, arguments: bytes) -> None:
    body = struct.pack(">HH", 10, method) + arguments
    connection.sendall(struct.pack(">BHI", 1, 0, len(body)) + body + b"\xce")


def expect_method(connection: socket.socket, expected: int) -> None:
    kind, _, length = struct.unpack(">BHI", exactly(connection, 7))
    body = exactly(connection, length + 1)
    got = struct.unpack(">HH", body[:4])
    if kind != 1 or got != (10, expected):
        raise ValueError(f"AMQP answered {got}, not {(10, expected)}")


def epmd(host: str, port: int) -> None:
    """Asks for the names that it knows."""
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        connection.sendall(b"\x00\x01n")
        if struct.unpack(">I", exactly(connection, 4)) != (port,):
            raise ValueError("this is no epmd of ours")


def redis(host: str, port: int, tls: TLS = None, login: Login = None) -> None:
    with connect(host, port, tls) as connection:
        if login:
            connection.sendall(f"AUTH {' '.join(login)}\r\n".encode())
            if exactly(connection, 5) != b"+OK\r\n":
                raise ValueError("the login was refused")
        connection.sendall(b"PING\r\n")
        if exactly(connection, 7) != b"+PONG\r\n":
            raise ValueError("PING was not answered by PONG")


def plain(login: tuple[str, str]) -> bytes:
    """Name and password as SASL's PLAIN has them."""
    return b"".join(b"\x00" + word.encode() for word in login)


def text(value: str) -> bytes:
    """A string of CQL."""
    return struct.pack(">H", len(value)) + value.encode()


def short(value: str) -> bytes:
    """A short string of AMQP."""
    return struct.pack(">B", len(value)) + value.encode()


def exactly(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        if not more:
            raise ConnectionError("closed in mid-answer")
        got += more
    return got
