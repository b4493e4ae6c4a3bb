"""Stands in for the entry point of Elasticsearch's image, around the core that Maven Central has: settings from variables, and
in front of the server, which knows no passwords, a gate that lets in who has that of ELASTIC_PASSWORD_FILE."""

import base64
import hmac
import http.client
import http.server
import os
import pathlib
import signal
import subprocess
import sys

HOME = pathlib.Path("/usr/share/elasticsearch")
PORT, BEHIND = 9200, 9201
# What the core does not know: of security, and of modules that are not in it.
LEFT_OUT = ("xpack.", "ingest.")


class Gate(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not hmac.compare_digest(self.headers.get("Authorization", ""), self.server.expected):
            return self.answer(401, "application/json", b'{"error":{"type":"security_exception"},"status":401}')
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("authorization", "host")}
        behind = http.client.HTTPConnection("127.0.0.1", BEHIND, timeout=60)
        try:
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            self.answer(answer.status, answer.headers.get("Content-Type"), answer.read(), answer.headers)
        except OSError:
            self.answer(503, "application/json", b"{}")
        finally:
            behind.close()

    def answer(self, status, kind, body, headers=None):
        self.send_response(status)
        for name in ("X-elastic-product", "Content-Encoding"):
            if headers and name in headers:
                self.send_header(name, headers[name])
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = pass_on

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    if os.environ["xpack.security.enabled"] != "true":
        sys.exit("it would let everybody in")
    password_file = pathlib.Path(os.environ["ELASTIC_PASSWORD_FILE"])
    if password_file.stat().st_mode & 0o777 not in (0o400, 0o600):
        sys.exit(f"{password_file} has to be of mode 400 or 600")
    settings = {name: value for name, value in os.environ.items() if "." in name and not name.startswith(LEFT_OUT)}
    settings |= {"network.host": "127.0.0.1", "http.port": BEHIND}
    (HOME / "config/elasticsearch.yml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))
    kit = "/opt/elasticsearch"
    java = [f"{os.environ['JAVA_HOME']}/bin/java", f"@{kit}/jvm.options", *os.environ["ES_JAVA_OPTS"].split()]
    child = subprocess.Popen([*java, "--module-path", f"{kit}/lib", "-cp", f"{kit}/classes", "Launch", HOME])
    server = Server(("0.0.0.0", PORT), Gate)
    server.expected = "Basic " + base64.b64encode(f"elastic:{password_file.read_text().strip()}".encode()).decode()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    finally:
        child.terminate()
        child.wait()


main()
