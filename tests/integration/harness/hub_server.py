"""A hub as Hugging Face's, a network of its files behind redirects, and a web server, all on loopback: what the
programs ask for is recorded, and a test can make them fail."""

import contextlib
import functools
import hashlib
import io
import json
import pathlib
import re
import subprocess
import threading
import urllib.parse

from harness.loopback_server import LoopbackServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Files of at least so many bytes have a SHA-256, as files in Git LFS have; smaller ones have the name of a Git blob.
LARGE = 4096
# Bytes that are read and sent at once, so that a file of any size needs no more memory.
PIECE = 1 << 16


def git_name(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@functools.lru_cache(maxsize=None)
def _sha256(file, size, changed_ns):
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def sha256_of(file):
    """Returns the digest of a file, which is read again only after it has changed."""
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


class FileServer(LoopbackServer):
    """Serves files below a folder, with ranges and entity tags."""

    def __init__(self, folder, certificate=None):
        self.folder = pathlib.Path(folder)
        # The method, the path and the headers, with names in lower case, of each request.
        self.requests = []
        # Statuses with headers for the next requests of files, in place of what was asked for.
        self.refusals = []
        # Cuts the connection whenever so many more bytes of files have been sent; empty once all are used.
        self.cuts = []
        # With `holds_after_the_cut`, the requests after the last cut wait for `go_on` and are dropped; `held` counts them.
        self.holds_after_the_cut = False
        self.held = 0
        self._going_on = threading.Event()
        self.sent = 0
        self.changed = {}
        self.ignores_ranges = False
        self.weak_tags = False
        super().__init__(certificate)

    def go_on(self):
        """Ends the hold after a cut."""
        self.holds_after_the_cut = False
        self._going_on.set()

    def note(self, handler, path):
        self.requests.append((handler.command, path, {name.lower(): value for name, value in handler.headers.items()}))

    def answer(self, handler):
        path = urllib.parse.unquote(urllib.parse.urlsplit(handler.path).path)
        self.note(handler, path)
        self.serve_file(handler, self.folder / path.lstrip("/"))

    def serve_file(self, handler, file):
        if self.holds_after_the_cut and not self.cuts:
            self.held += 1
            self._going_on.wait()
            handler.close_connection = True
            return None
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return self.reply(handler, status, b"refused", headers)
        if not file.is_file():
            return self.reply(handler, 404, b"no such file")
        changed = self.changed.get(file.name)
        with io.BytesIO(changed) if changed else open(file, "rb") as content:
            self.serve_content(handler, content, self.tag_of(file, changed))
        return None

    def tag_of(self, file, changed):
        status = file.stat()
        tag = hashlib.md5(changed).hexdigest() if changed else f"{status.st_mtime_ns:x}-{status.st_size:x}"
        return f'W/"{tag}"' if self.weak_tags else f'"{tag}"'

    def serve_content(self, handler, content, tag):
        if handler.headers.get("If-Match", tag) != tag:
            return self.reply(handler, 412, b"changed")
        size = content.seek(0, io.SEEK_END)
        first = 0
        asked = handler.headers.get("Range")
        if asked and not self.ignores_ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        if first:
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        content.seek(first)
        self.begin_reply(handler, 206 if first else 200, size - first, headers)
        return None if handler.command == "HEAD" else self.send_content(handler, content)

    def reply(self, handler, status, body, headers=None):
        self.begin_reply(handler, status, len(body), headers or {})
        if handler.command != "HEAD":
            handler.wfile.write(body)

    @staticmethod
    def begin_reply(handler, status, length, headers):
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            handler.send_header(name, value)
        handler.end_headers()

    def send_content(self, handler, content):
        """Sends the rest of a file, up to a cut."""
        while piece := content.read(PIECE):
            if self.cuts and self.sent + len(piece) > self.cuts[0]:
                handler.wfile.write(piece[:self.cuts[0] - self.sent])
                self.sent = self.cuts.pop(0)
                handler.wfile.flush()
                handler.close_connection = True
                with contextlib.suppress(OSError):
                    handler.connection.shutdown(2)
                return
            handler.wfile.write(piece)
            self.sent += len(piece)


class Hub(FileServer):
    """`folder` has a folder for each repository: org/name or datasets/org/name. Files come from `files`, another server,
    with `certificate`, to which the hub redirects."""

    def __init__(self, folder, certificate, token=None):
        super().__init__(folder)
        self.files = FileServer(folder, certificate)
        self._certificate = certificate
        self.token = token
        # Entries of a page of a listing.
        self.page = 1000
        # The revisions that lead to the commit.
        self.revisions = {"main", COMMIT}
        # Wrong digests that the hub promises, by the file's name.
        self.promises = {}
        # More names that a listing has.
        self.more_names = []

    def stop(self):
        super().stop()
        self.files.stop()

    def environment(self):
        return {"HF_ENDPOINT": self.url, "SSL_CERT_FILE": str(self._certificate.with_suffix(".crt")),
                **({"HF_TOKEN": self.token} if self.token else {})}

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        path = urllib.parse.unquote(url.path)
        self.note(handler, path)
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            return self.reply(handler, 401, f"who is {handler.headers.get('Authorization')}".encode())
        if path.startswith("/api/"):
            return self.describe(handler, path, dict(urllib.parse.parse_qsl(url.query)))
        repository, _, rest = path.lstrip("/").partition("/resolve/")
        commit, _, name = rest.partition("/")
        if commit != COMMIT:
            return self.reply(handler, 404, b"no such revision")
        target = f"{self.files.url}/{urllib.parse.quote(repository)}/{urllib.parse.quote(name)}?signature=of-the-network"
        return self.reply(handler, 302, b"", {"Location": target})

    def describe(self, handler, path, query):
        repository, call, rest = re.fullmatch(r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)/(revision|tree)/(.*)", path).groups()
        root = self.folder / repository
        revision, folder = (rest, "") if call == "revision" else (rest[:len(COMMIT)], rest[len(COMMIT) + 1:])
        if not (root / folder).is_dir() or revision not in self.revisions:
            return self.reply(handler, 404, b'{"error": "not found"}')
        if call == "revision":
            return self.answer_json(handler, {"id": repository, "sha": COMMIT})
        entries = [self.entry(root, file) for file in sorted((root / folder).rglob("*"))]
        entries += [{"type": "file", "path": name, "size": 3, "oid": "0" * 40} for name in self.more_names]
        start = int(query.get("cursor", "0"))
        headers = {}
        if start + self.page < len(entries):
            headers["Link"] = f'<{self.url}{path}?recursive=true&cursor={start + self.page}>; rel="next"'
        return self.answer_json(handler, entries[start:start + self.page], headers)

    def answer_json(self, handler, content, headers=None):
        return self.reply(handler, 200, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def entry(self, root, file):
        path = str(file.relative_to(root))
        if not file.is_file():
            return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        size = file.stat().st_size
        promised = self.promises.get(file.name)
        if size < LARGE:
            return {"type": "file", "path": path, "size": size, "oid": promised or git_name(file.read_bytes())}
        return {"type": "file", "path": path, "size": size, "oid": git_name(b"pointer"),
                "lfs": {"oid": promised or sha256_of(file), "size": size, "pointerSize": 134}}


def make_certificate(folder):
    """Returns a file with a key and a certificate for 127.0.0.1 that signs itself."""
    file = folder / "web.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "web.key", "-out",
                    folder / "web.crt"], check=True, capture_output=True)
    file.write_bytes((folder / "web.key").read_bytes() + (folder / "web.crt").read_bytes())
    return file
