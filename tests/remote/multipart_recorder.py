"""A server of the multipart protocol of S3 on loopback that keeps of each part its size and digest instead of its bytes,
for objects that are too large for a real server's memory."""

import hashlib
import re
import urllib.parse
from xml.sax.saxutils import escape

from harness.loopback_server import LoopbackServer

PIECE = 1 << 20


class MultipartRecorder(LoopbackServer):
    """`parts` has for each key the size and the SHA-256 of each part by its number; `objects` has those that were completed,
    and `bodies` what was put in one request. `received` counts the bytes of parts that arrived whole."""

    def __init__(self):
        self.parts = {}
        self.objects = {}
        self.bodies = {}
        self.received = 0
        super().__init__()

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        key = urllib.parse.unquote(url.path).lstrip("/").partition("/")[2]
        if "list-type" in query:
            self._list(handler, query["prefix"])
        elif "uploads" in query:
            self.parts[key] = {}
            self._reply(handler, f"<InitiateMultipartUploadResult><UploadId>{escape(key)}</UploadId>"
                                 "</InitiateMultipartUploadResult>")
        elif "partNumber" in query:
            self._take_part(handler, key, int(query["partNumber"]))
        elif handler.command == "POST":
            self._complete(handler, key)
        elif handler.command == "PUT":
            self.bodies[key] = handler.rfile.read(int(handler.headers["Content-Length"]))
            self._reply(handler)
        else:
            self._reply(handler, status=200 if key in self.parts else 404)

    def _list(self, handler, prefix):
        found = "".join(f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>tag</ETag></Contents>"
                        for key, size in sorted(self.objects.items()) if key.startswith(prefix))
        self._reply(handler, f"<ListBucketResult>{found}</ListBucketResult>")

    def _take_part(self, handler, key, number):
        size = left = int(handler.headers["Content-Length"])
        digest = hashlib.sha256()
        while left:
            piece = handler.rfile.read(min(PIECE, left))
            if not piece:
                return
            digest.update(piece)
            left -= len(piece)
        if digest.hexdigest() != handler.headers["x-amz-content-sha256"]:
            return self._reply(handler, "<Error><Code>XAmzContentSHA256Mismatch</Code></Error>", status=400)
        self.parts[key][number] = (size, digest.hexdigest())
        self.received += size
        return self._reply(handler, headers={"ETag": f'"{digest.hexdigest()}"'})

    def _complete(self, handler, key):
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        named = [(int(number), tag.replace("&quot;", "").strip('"')) for number, tag in
                 re.findall(r"<Part><PartNumber>(\d+)</PartNumber><ETag>(.*?)</ETag></Part>", body)]
        if named != [(number, digest) for number, (_, digest) in sorted(self.parts[key].items())]:
            return self._reply(handler, "<Error><Code>InvalidPart</Code></Error>", status=400)
        self.objects[key] = sum(size for size, _ in self.parts[key].values())
        return self._reply(handler, "<CompleteMultipartUploadResult><Key>key</Key></CompleteMultipartUploadResult>")

    @staticmethod
    def _reply(handler, body="", status=200, headers=None):
        handler.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body.encode()))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body.encode())
