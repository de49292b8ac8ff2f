"""A client that speaks as much HTTP/2 as an attacker needs: it opens a call, announces a message of any length and sends
as much of it as the server lets in. gRPC's own clients send only whole messages.
"""

import socket
import struct
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACKNOWLEDGE, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_HEADER_BYTES = 9
_LONGEST_FRAME = 16384
_STREAM = 1


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _header(name, value):
    """Encodes a header of less than 128 bytes without a table and without compression."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


class HalfMessage:
    """A connection with one call whose message never ends."""

    def __init__(self, port, path, announced_bytes, patience_s=20):
        self._patience_s = patience_s
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
        self._received = b""
        self._first_window = self._connection_window = self._stream_window = 65535
        self._rest = b"\0" + struct.pack(">I", announced_bytes)
        self.is_over = False
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "coordinator"),
                   ("content-type", "application/grpc"), ("te", "trailers")]
        self._send(_PREFACE + _frame(_SETTINGS, 0, 0, b"") +
                   _frame(_HEADERS, _END_HEADERS, _STREAM, b"".join(_header(*header) for header in headers)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def send(self, total):
        """Sends that many bytes, or what the server lets in before it ends the call, or within the patience. Returns
        how many."""
        sent, deadline = 0, time.monotonic() + self._patience_s
        while sent < total and not self.is_over and time.monotonic() < deadline:
            count = min(self._connection_window, self._stream_window, _LONGEST_FRAME, total - sent)
            if count <= 0:
                self._listen(0.05)
                continue
            data = (self._rest + b"\0" * count)[:count]
            self._rest = self._rest[count:]
            self._send(_frame(_DATA, 0, _STREAM, data))
            self._connection_window -= count
            self._stream_window -= count
            sent += count
            self._listen(0)
        return sent

    def _send(self, data):
        try:
            self._socket.settimeout(self._patience_s)
            self._socket.sendall(data)
        except OSError:
            self.is_over = True

    def _listen(self, seconds):
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(1 << 16)
            self.is_over = self.is_over or not data
            self._received += data
        except (BlockingIOError, TimeoutError):
            pass
        except OSError:
            self.is_over = True
        while len(self._received) >= _FRAME_HEADER_BYTES:
            end = _FRAME_HEADER_BYTES + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                break
            kind, flags = self._received[3:5]
            stream = int.from_bytes(self._received[5:9], "big")
            self._take(kind, flags, stream, self._received[_FRAME_HEADER_BYTES:end])
            self._received = self._received[end:]

    def _take(self, kind, flags, stream, payload):
        if kind == _WINDOW_UPDATE and stream == 0:
            self._connection_window += int.from_bytes(payload, "big")
        elif kind == _WINDOW_UPDATE:
            self._stream_window += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags & _ACKNOWLEDGE:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == _INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._first_window
                    self._first_window = value
            self._send(_frame(_SETTINGS, _ACKNOWLEDGE, 0, b""))
        elif kind == _PING and not flags & _ACKNOWLEDGE:
            self._send(_frame(_PING, _ACKNOWLEDGE, 0, payload))
        elif kind in (_HEADERS, _RESET, _GOAWAY):
            self.is_over = True
