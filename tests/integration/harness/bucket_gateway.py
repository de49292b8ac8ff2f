"""A proxy in front of the S3 server of the tests that sees whole requests: a test can record them and answer in the
server's place. Signatures stay valid, because every header is passed on as it came."""

import http.client
import re
import urllib.parse

from harness.loopback_server import LoopbackServer


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


class BucketGateway(LoopbackServer):
    """`intercept(request)` may return (status, headers, body), the answer in the server's place; else None."""

    def __init__(self, port, intercept=lambda request: None):
        self._target = port
        self.intercept = intercept
        self.requests = []
        super().__init__()

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
