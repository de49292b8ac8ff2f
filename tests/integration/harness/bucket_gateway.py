"""A proxy in front of the S3 server of the tests that sees whole requests: a test can record them and answer in the
server's place. Signatures stay valid, because every header is passed on as it came."""

import http.client
import http.server
import re
import threading
import urllib.parse


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle_any(self):
        self.server.owner.answer(self)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that goes away is what these tests are about."""


class Request:
    def __init__(self, handler):
        self.method = handler.command
        self.target = handler.path
        url = urllib.parse.urlsplit(handler.path)
        self.path = urllib.parse.unquote(url.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length", "0")))

    @property
    def key_id(self):
        """The id of the key in the signature; None without one."""
        found = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        return found and found.group(1)

    @property
    def region(self):
        """The region in the signature; None without one."""
        found = re.search(r"Credential=[^/]+/\d+/([^/]+)/s3/", self.headers.get("authorization", ""))
        return found and found.group(1)

    @property
    def is_part(self):
        return self.method == "PUT" and "partNumber" in self.query

    @property
    def is_completion(self):
        return self.method == "POST" and "uploadId" in self.query


class BucketGateway:
    """`intercept(request)` may return (status, headers, body), the answer in the server's place; else None."""

    def __init__(self, port, intercept=lambda request: None):
        self._target = port
        self.intercept = intercept
        self.requests = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler):
        request = Request(handler)
        self.requests.append(request)
        status, headers, body = self.intercept(request) or self.forward(request)
        handler.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                handler.send_header(name, value)
        length = headers.get("Content-Length", "0") if request.method == "HEAD" else len(body)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        if request.method != "HEAD":
            handler.wfile.write(body)

    def forward(self, request):
        server = http.client.HTTPConnection("127.0.0.1", self._target)
        server.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            server.putheader(name, value)
        server.endheaders(request.body)
        answer = server.getresponse()
        headers, body = dict(answer.getheaders()), answer.read()
        server.close()
        return answer.status, headers, body


def error(status, code, headers=None, elements=""):
    """Returns the answer with an error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of the test</Message>{elements}</Error>"
    return status, {"Content-Type": "application/xml", **(headers or {})}, body.encode()
