#!/usr/bin/env python3
"""The Python client with certificates and tokens, against the cluster of coordinator/README.md, and with two coordinators."""

import asyncio
import os
import ssl
import threading
import unittest
from unittest import mock

import regroup

from harness import job_file, postgres, processes
from harness.documented_cluster import DocumentedClusterTest, documented_commands
from harness.pair import Pair
from harness.program_test import ProgramTest

VARIABLES = ("REGROUP_COORDINATOR", "REGROUP_TOKEN_FILE", "REGROUP_TLS_AUTHORITY", "REGROUP_TLS_CERTIFICATE",
             "REGROUP_TLS_KEY")  # fmt: skip


class PythonAccessTest(DocumentedClusterTest):
    def setUp(self):
        super().setUp()
        for command in documented_commands()[:6]:
            self.follow(command)
        self.keys = self.folder / "keys"
        self.identity = {"ca_file": self.keys / "authority.pem", "cert_file": self.keys / "client.pem",
                         "key_file": self.keys / "client.key"}  # fmt: skip

    def client(self, host="localhost", **settings):
        client = regroup.Client(f"{host}:{self.port}", **{**self.identity, **settings})
        self.addCleanup(client.close)
        return client

    def test_a_submitter_sees_its_own_jobs(self):
        alice = self.client(token_file=self.keys / "alice.token")
        job = alice.submit(self.folder / "job.yaml")
        self.assertEqual(job.owner, "alice")
        self.assertEqual([found.id for found in alice.list()], [job.id])
        token = (self.keys / "alice.token").read_text().strip()
        self.assertEqual([found.id for found in self.client(token=token).list(owner="alice")], [job.id])
        self.assertNotIn(token, repr(vars(alice)))
        self.shell("regroup-coordinator token add bob --role submitter --tokens keys/tokens --output keys/bob.token")
        bob = self.client(token_file=self.keys / "bob.token")
        self.assertEqual(processes.wait_until(lambda: self.accepted(bob.list), "bob's token", 60, 0.2), ((),))
        with self.assertRaises(regroup.NotFound):
            bob.cancel(job)

    def accepted(self, call):
        """Returns the call's answer in a tuple; None if the token is not known yet."""
        try:
            return (call(),)
        except regroup.RegroupError:
            return None

    def test_a_replaced_token_file_is_used_from_the_next_call_on(self):
        file = self.folder / "token"
        file.write_text((self.keys / "alice.token").read_text())
        client = self.client(token_file=file)
        client.list()
        file.write_text("rg-unknown\n")
        with self.assertRaises(regroup.RegroupError) as raised:
            client.list()
        self.assertEqual((raised.exception.code, raised.exception.reason), ("UNAUTHENTICATED", "CREDENTIALS_REQUIRED"))
        file.write_text((self.keys / "alice.token").read_text())
        client.list()

    def test_without_a_token_or_a_certificate_nothing_is_answered(self):
        with self.assertRaises(regroup.RegroupError) as raised:
            self.client().list()
        self.assertEqual(raised.exception.code, "UNAUTHENTICATED")
        token = {"token_file": self.keys / "alice.token"}
        for settings in ({"cert_file": None, "key_file": None}, {"ca_file": self.keys / "client.pem"}):
            with self.assertRaises(regroup.Unavailable):
                self.client(**settings, **token).list()
        with self.assertRaises(regroup.Unavailable), regroup.Client(f"localhost:{self.port}", **token) as plain:
            plain.list()

    def test_a_server_with_another_name_or_another_use_is_refused(self):
        with self.assertRaises(regroup.Unavailable):
            self.client(host="127.0.0.2", token_file=self.keys / "alice.token").list()
        for name in ("client", "worker"):
            port = self.impostor(self.keys / f"{name}.pem", self.keys / f"{name}.key")
            with self.assertRaises(regroup.Unavailable), regroup.Client(f"localhost:{port}", **self.identity) as client:
                client.list()

    def test_tls_alone_suffices_where_a_proxy_has_the_certificate(self):
        proxy = Proxy(self.keys / "coordinator.pem", self.keys / "coordinator.key", self.port, self.identity)
        self.addCleanup(proxy.close)
        with regroup.Client(f"localhost:{proxy.port}", ca_file=self.identity["ca_file"],
                            token_file=self.keys / "alice.token") as client:  # fmt: skip
            self.assertEqual(client.list(), ())

    def impostor(self, certificate, key):
        """Starts a TLS server with this certificate; returns its port."""
        proxy = Proxy(certificate, key, self.port, self.identity)
        self.addCleanup(proxy.close)
        return proxy.port

    def test_settings_come_from_the_environment(self):
        values = (f"localhost:{self.port}", "keys/alice.token", "keys/authority.pem", "keys/client.pem", "keys/client.key")
        paths = [values[0], *(str(self.folder / value) for value in values[1:])]
        with mock.patch.dict(os.environ, dict(zip(VARIABLES, paths))), regroup.Client() as client:
            self.assertEqual(client.list(), ())
            with regroup.Client(token_file=self.keys / "admin.token") as other:
                self.assertEqual(other.list(), ())

    def test_settings_that_cannot_work_are_refused_at_once(self):
        for settings, words in (({"cert_file": None}, "together"), ({"ca_file": None}, "ca_file"),
                                ({"token": "a b"}, "token"), ({"token": "a", "token_file": "b"}, "not both")):
            with self.assertRaisesRegex(regroup.RegroupError, words):
                self.client(**settings)
        empty = self.folder / "empty"
        empty.write_text("\n")
        with self.assertRaisesRegex(regroup.RegroupError, "holds no token"):
            self.client(token_file=empty)
        with self.assertRaises(FileNotFoundError):
            self.client(ca_file=self.folder / "none")


class PythonTargets(unittest.TestCase):
    def test_other_machines_need_tls(self):
        for target in ("example.org:7447", "127.example.org:7447", "127.0.0.1:1,10.0.0.1:2", "0.0.0.0:7447"):
            with self.subTest(target), self.assertRaisesRegex(regroup.RegroupError, "TLS|look up"):
                regroup.Client(target)
        for target in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/none", "127.0.0.1:1,127.0.0.1:2"):
            regroup.Client(target).close()

    def test_an_address_needs_a_port(self):
        for target in ("localhost", "localhost:", ":1", "localhost:0", "localhost:x", "localhost:70000", "[::1]"):
            with self.subTest(target), self.assertRaisesRegex(regroup.RegroupError, "HOST:PORT"):
                regroup.Client(target)


class PythonTwoCoordinators(ProgramTest):
    def test_the_leader_is_found_again(self):
        database = postgres.Postgres()
        self.addCleanup(database.stop)
        pair = Pair(self.folder, database.url, workers=1)
        self.addCleanup(pair.stop)
        first = pair.wait_for_leader()
        with regroup.Client(pair.address) as client:
            job = client.submit(job_file.aligned_only(self.output))
            processes.kill_now(pair.members[first])
            self.assertIs(client.wait(job).state, regroup.JobState.SUCCEEDED)
            pair.start_member(first)


class Proxy:
    """A TLS server that passes each connection on to the coordinator with an identity of its own. One thread serves all of
    it, since OpenSSL forbids two threads on one connection."""

    def __init__(self, certificate, key, port, identity):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.set_alpn_protocols(["h2"])
        self._onwards = ssl.create_default_context(cafile=identity["ca_file"])
        self._onwards.load_cert_chain(identity["cert_file"], identity["key_file"])
        self._onwards.set_alpn_protocols(["h2"])
        self._coordinator = ("localhost", int(port))
        self._loop = asyncio.new_event_loop()
        # A client that refuses the certificate is what some tests are about.
        self._loop.set_exception_handler(lambda loop, context: None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context))
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self):
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _stop(self):
        self._server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection(*self._coordinator, ssl=self._onwards)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))


async def _copy(source, target):
    """Copies until one side ends."""
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
