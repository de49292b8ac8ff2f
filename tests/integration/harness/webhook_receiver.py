"""A receiver of webhooks that verifies each event with an independent library."""

import http.server
import threading

import standardwebhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver = self.server.receiver
        with receiver.lock:
            status = receiver.statuses.pop(0) if receiver.statuses else receiver.status
            receiver.requests.append((status, dict(self.headers), body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Receiver:
    """Records the requests and answers with the next of `statuses`, or with `status`."""

    def __init__(self):
        self.lock = threading.Lock()
        self.status, self.statuses, self.requests = 200, [], []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/regroup"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def accepted(self):
        """Returns the events that it verified and accepted, by their id."""
        found = {}
        with self.lock:
            for status, headers, body in self.requests:
                event = standardwebhooks.Webhook(SECRET).verify(body, {name.lower(): text for name, text in headers.items()})
                if status == 200:
                    found.setdefault(headers["webhook-id"], []).append(event)
        return found
