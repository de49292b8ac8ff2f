"""Opens a channel as the `regroup` command does: plain text on this machine, TLS elsewhere, a token with each call."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import socket
import threading
from dataclasses import dataclass
from typing import Any

import grpc

from regroup.errors import RegroupError, Unavailable

DEFAULT_TARGET = "127.0.0.1:7447"
_DNS_PREFIX = "dns:///"
_MAX_MESSAGE_BYTES = 16 << 20
_LONGEST_TOKEN = 512
_MAX_FILE_BYTES = 1 << 20
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM format: the coordinator's authority, and this program's certificate and key."""

    authority: str | None = None
    certificate: str | None = None
    key: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Errors name the file."""
        if not self.authority or bool(self.certificate) != bool(self.key):
            raise RegroupError("TLS needs ca_file, and cert_file and key_file together")
        identity = (_read(self.key), _read(self.certificate)) if self.key and self.certificate else (None, None)
        return grpc.ssl_channel_credentials(_read(self.authority), *identity)

    def are_given(self) -> bool:
        """True if the connection uses TLS."""
        return bool(self.authority or self.certificate or self.key)


class Token:
    """The token that identifies the caller; safe for any thread. Its file is read for each call, so it can be replaced.

    While the file cannot be read the last token is used, as the command does.
    """

    def __init__(self, token: str | None = None, file: str | None = None) -> None:
        if token and file:
            raise RegroupError("give token or token_file, not both")
        self._file = file
        self._lock = threading.Lock()
        self._token = _token_in(file) if file else token
        if self._token is not None and not _is_token(self._token):
            raise RegroupError("the token is empty or holds characters that no token has")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns the headers of a call."""
        token = self._current()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _current(self) -> str | None:
        with self._lock:
            if self._file:
                with contextlib.suppress(OSError, RegroupError):
                    self._token = _token_in(self._file)
            return self._token


def open_channel(target: str, tls: TlsFiles) -> grpc.Channel:
    """Connects with the first call. Addresses of other machines need TLS: no token is sent in plain text."""
    addresses = _addresses_in(target)
    options = dict(_OPTIONS)
    uri = addresses[0]
    if target.startswith(_DNS_PREFIX):
        uri = target
    elif len(addresses) > 1:
        uri = _look_up_all(addresses)
        if tls.are_given():
            options["grpc.ssl_target_name_override"] = _host_of(addresses[0])
    if uri != addresses[0]:
        options |= _FOLLOW_THE_LEADER
    if tls.are_given():
        return grpc.secure_channel(uri, tls.credentials(), list(options.items()))
    exposed = [address for address in addresses if not _is_local(address)]
    if exposed:
        raise RegroupError(
            f"{exposed[0]} can be reached from other machines and so needs TLS: give ca_file, cert_file and key_file, "
            "or use 127.0.0.1"
        )
    return grpc.insecure_channel(uri, list(options.items()))


# The settings of services/common/rpc/channel.cc. A restarted coordinator is found within a second or two, and proxies
# of the environment are ignored.
_OPTIONS: dict[str, Any] = {
    "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
}
# Only the leader of several coordinators answers calls; its health service says SERVING.
_FOLLOW_THE_LEADER: dict[str, Any] = {
    "grpc.service_config": json.dumps(
        {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    ),
    "grpc.keepalive_time_ms": 6_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.dns_min_time_between_resolutions_ms": 1_000,
}


def _addresses_in(target: str) -> list[str]:
    addresses = [address.strip() for address in target.removeprefix(_DNS_PREFIX).split(",")]
    for address in addresses:
        host, colon, port = address.rpartition(":")
        is_port = port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
        if not address.startswith("unix:") and not (host and colon and is_port):
            raise RegroupError(f'"{address}" is not an address: write HOST:PORT with a port from 1 to 65535')
        if address.startswith("unix:") and len(addresses) > 1:
            raise RegroupError(f'"{address}": write host:port for each of several coordinators, separated by commas')
    return addresses


def _is_local(address: str) -> bool:
    if address.startswith(("unix:", "localhost:", "[::1]:")):
        return True
    # A host name could also begin with "127.".
    return re.fullmatch(r"127\.[0-9.]*", address.rpartition(":")[0]) is not None


def _host_of(address: str) -> str:
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]")


def _look_up_all(addresses: list[str]) -> str:
    """Returns all addresses in numbers, of one address family, in gRPC's syntax."""
    for family, scheme, form in ((socket.AF_INET, "ipv4", "{}:{}"), (socket.AF_INET6, "ipv6", "[{}]:{}")):
        try:
            found = [_look_up(address, family, form) for address in addresses]
        except socket.gaierror:
            continue
        return f"{scheme}:{','.join(found)}"
    raise Unavailable(
        f"cannot look up {', '.join(addresses)}: a name is unknown, or some have only IPv4 and others only IPv6",
        code="UNAVAILABLE",
    )


def _look_up(address: str, family: socket.AddressFamily, form: str) -> str:
    found = socket.getaddrinfo(_host_of(address), None, family, socket.SOCK_STREAM)
    return form.format(found[0][4][0], address.rpartition(":")[2])


def _read(path: str) -> bytes:
    """Reads a file of credentials, which are small."""
    with open(os.path.expanduser(path), "rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise RegroupError(f"{path} is larger than {_MAX_FILE_BYTES} bytes and holds no certificate, key or token")
    return content


def _token_in(path: str) -> str:
    """Returns the first word of a token file."""
    words = _read(path).decode("ascii", errors="replace").split(maxsplit=1)
    if words and _is_token(words[0]):
        return words[0]
    raise RegroupError(f"{path} holds no token; write the line that `regroup-coordinator token add` printed")


def _is_token(text: str) -> bool:
    return len(text) <= _LONGEST_TOKEN and _TOKEN.fullmatch(text) is not None


def text_of(path: str | os.PathLike[str] | None) -> str | None:
    """Returns a path as text; None stays None."""
    return None if path is None else str(pathlib.Path(path))
