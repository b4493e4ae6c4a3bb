"""Stands between a node and Elasticsearch, and writes down what the node asks: the same requests can be asked again,
without the node."""

import http.client
import http.server
import json
import pathlib
import threading
import urllib.parse

SECONDS = 60
# What is about one connection only.
OWN = {"connection", "transfer-encoding", "content-length", "host"}


class Tap:
    """Listens on a port of the loopback and passes on every request to `url`."""

    def __init__(self, url: str):
        self.target = urllib.parse.urlsplit(url)
        self.file = None
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *of: _Handler(self, *of))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "Tap":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def record(self, file: pathlib.Path | None) -> None:
        """From now on what is searched and put is written to this file, one request a line; None: no more."""
        with self.lock:
            if self.file:
                self.file.close()
            self.file = open(file, "w") if file else None

    def note(self, path: str, body: bytes) -> None:
        place = path.partition("?")[0]
        with self.lock:
            if self.file and place.endswith(("/_search", "/_bulk")):
                self.file.write(json.dumps({"path": path.lstrip("/"), "body": body.decode()}) + "\n")
                self.file.flush()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, tap: Tap, *of):
        self.tap = tap
        super().__init__(*of)

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.tap.note(self.path, body)
        connection = http.client.HTTPConnection(self.tap.target.hostname, self.tap.target.port, timeout=SECONDS)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in OWN | {"date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = pass_on

    def log_message(self, *_) -> None:
        pass
