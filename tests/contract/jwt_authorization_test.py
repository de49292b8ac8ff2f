#!/usr/bin/env python3
"""The authorisation matrix for JSON Web Tokens: every RPC of the proto files, called by every role with a token of an
independent library, and with every forged token. The static tokens of the same roles, which authorization_test.cc
covers, say what the answer must be.
"""

import http.server
import json
import os
import pathlib
import re
import ssl
import subprocess
import textwrap
import threading
import time
import unittest
import unittest.mock

import grpc
from google.rpc import error_details_pb2, status_pb2

from harness import jwt_issuer, places, processes
from harness.program_test import ProgramTest

ROLES = ("viewer", "submitter", "admin", "worker")
RULES = """
rules:
  - {claim: groups, value: viewers, role: viewer}
  - {claim: realm_access.roles, value: submitters, role: submitter, owner_claim: preferred_username}
  - {claim: groups, value: admins, role: admin}
  - {claim: [kubernetes.io, namespace], value: ml, role: worker, worker_claim: [kubernetes.io, pod, name],
     owner_claim: [kubernetes.io, serviceaccount, name]}
"""
REQUEST = b"\x0a\x02w1"
EXAMPLES = places.REPOSITORY / "deploy/jwt"


def methods():
    """Returns "JobService/SubmitJob" and all other methods of the coordinator's proto files."""
    found = []
    for service in ("job", "cluster", "worker"):
        text = (places.REPOSITORY / f"proto/regroup/v1/{service}_service.proto").read_text()
        name = re.search(r"^service (\w+)", text, re.MULTILINE)[1]
        found += [f"{name}/{rpc}" for rpc in re.findall(r"^\s*rpc (\w+)", text, re.MULTILINE)]
    return found


def request_of(method, call=0):
    """Returns a request whose first field, where it is text, names a worker or a job; each backup needs another name."""
    return REQUEST if method != "ClusterService/BackupStore" else b"\x0a\x02%02d" % call


def reason_of(error):
    """Returns the reason that an error of the API carries."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""


class Jwt(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.rsa, cls.ec = jwt_issuer.Key("rsa-1"), jwt_issuer.Key("ec-1", "ES256")
        cls.stranger = jwt_issuer.Key("rsa-1")

    def setUp(self):
        super().setUp()
        self.keys, self.roles = self.folder / "keys.json", self.folder / "roles.yaml"
        self.tokens = self.folder / "tokens"
        self.replace(self.keys, jwt_issuer.key_set(self.rsa, self.ec))
        self.replace(self.roles, RULES)
        self.minted = []
        self.static = {role: self.add_static(role) for role in ROLES}

    def add_static(self, role):
        more = ["--worker", "w1"] if role == "worker" else []
        done = subprocess.run([places.PROGRAMS / "regroup-coordinator", "token", "add", role, "--role", role,
                               "--tokens", self.tokens, *more], check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    @staticmethod
    def replace(file, text):
        """Replaces a file by a rename, as editors and the kubelet do."""
        new = file.with_name(file.name + ".new")
        new.write_text(text)
        os.rename(new, file)

    def start(self, *more, tokens=True, keys=True, **settings):
        arguments = [*(["--jwt-keys", self.keys] if keys else []), "--jwt-issuer", jwt_issuer.ISSUER,
                     "--jwt-audience", jwt_issuer.AUDIENCE, "--jwt-roles", self.roles, *(["--tokens", self.tokens] if tokens else []), *more]
        self.cluster = self.start_cluster(**{"workers": 0, "coordinator_arguments": arguments, **settings})
        self.channel = grpc.insecure_channel(self.cluster.address)
        self.addCleanup(self.channel.close)

    def claims_of(self, role, **changes):
        if role == "worker":
            return jwt_issuer.service_account("ml", "regroup-worker", "w1", **changes)
        if role == "submitter":
            return jwt_issuer.claims(sub="00u17!", preferred_username="submitter",
                                     realm_access={"roles": ["user", "submitters"]}, **changes)
        return jwt_issuer.claims(sub=role, groups=["users", f"{role}s"], **changes)

    def mint(self, role, key=None, **changes):
        token = (key or self.rsa).sign(self.claims_of(role, **changes))
        self.minted.append(token)
        return token

    def call(self, token, method="JobService/ListJobs", request=b""):
        """Returns code, reason and message of a call, "OK" if it returned a message."""
        rpc = self.channel.unary_stream(f"/regroup.v1.{method}")(
            request, timeout=60, metadata=[("authorization", f"Bearer {token}")] if token else [])
        try:
            for _ in rpc:
                rpc.cancel()
                return "OK", "", ""
            return rpc.code().name, "", ""
        except grpc.RpcError as error:
            return error.code().name, reason_of(error), error.details()

    def served_methods(self):
        served = [method for method in methods() if self.call("", method)[0] != "UNIMPLEMENTED"]
        self.assertGreater(len(served), 20)
        return served

    def assert_admitted(self, token, what=""):
        self.assertEqual(self.call(token)[0], "OK", f"{what}: {self.call(token)}")

    def assert_refused(self, token, code="UNAUTHENTICATED", words=""):
        found, _, message = self.call(token)
        self.assertEqual(found, code, message)
        self.assertIn(words, message)


class Matrix(Jwt):
    def test_every_role_may_do_what_it_may_with_a_static_token(self):
        self.start()
        compared = 0
        for role in ROLES:
            tokens = [self.mint(role), self.mint(role, self.ec)]
            for method in methods():
                expected = self.call(self.static[role], method, request_of(method))[:2]
                for token in tokens:
                    compared += 1
                    found = self.call(token, method, request_of(method, compared % 100))[:2]
                    self.assertEqual(found, expected, f"{role} {method}")
        self.assertGreater(compared, 170)
        print(f"{compared} calls with JWTs were answered as with static tokens")

    def test_no_forged_token_is_admitted_to_any_call(self):
        self.start()
        self.assert_admitted(self.mint("admin"), "the token that the forgeries resemble")
        forged = jwt_issuer.forgeries(self.rsa, self.ec, self.stranger)
        served = self.served_methods()
        for method in served:
            for what, token in forged.items():
                code, reason, message = self.call(token, method, REQUEST)
                self.assertEqual((code, reason), ("UNAUTHENTICATED", "CREDENTIALS_REQUIRED"),
                                 f"{method}, {what}: {message}")
        print(f"{len(forged)} forged tokens were refused by {len(served)} methods")

    def test_a_holder_without_a_role_learns_what_to_do(self):
        self.start()
        self.minted.append(self.rsa.sign(jwt_issuer.claims(sub="mallory")))
        for method in self.served_methods():
            code, reason, message = self.call(self.minted[-1], method, REQUEST)
            self.assertEqual((code, reason), ("PERMISSION_DENIED", "NOT_ALLOWED"), method)
            self.assertIn(f"no rule of {self.roles} fits", message)
        self.assert_refused(self.rsa.sign(jwt_issuer.claims(sub="A/../B", groups=["admins"])), "PERMISSION_DENIED",
                            "cannot name its holder")

    def test_a_worker_speaks_only_for_the_pod_that_its_token_is_bound_to(self):
        self.start()
        others = self.rsa.sign(jwt_issuer.service_account("ml", "regroup-worker", "w2"))
        code, reason, message = self.call(others, "WorkerService/AcquireTask", REQUEST)
        self.assertEqual((code, reason), ("PERMISSION_DENIED", "NOT_ALLOWED"))
        self.assertIn("--jwt-roles", message)

    def test_clocks_may_differ_by_the_leeway(self):
        self.start("--jwt-leeway-s", "300")
        now = time.time()
        for seconds, admitted in ((-250, True), (-310, False)):
            self.assertEqual(self.call(self.mint("admin", exp=now + seconds))[0] == "OK", admitted, seconds)
        for name in ("iat", "nbf"):
            self.assert_admitted(self.mint("admin", **{name: now + 250}), name)
            self.assert_refused(self.mint("admin", **{name: now + 400}), words=name)

    def test_a_token_as_large_as_allowed_is_admitted_from_a_file_too(self):
        self.start()
        token = self.mint("admin", padding="x" * 5500)
        self.assertIn(len(token), range(7500, 8193))
        self.assert_admitted(token)
        file = self.folder / "large.token"
        file.write_text(token)
        self.assertEqual(self.cluster.regroup("list", "--token-file", file).returncode, 0)

    def test_tokens_of_both_kinds_are_needed_and_not_mixed_up(self):
        self.start()
        self.assert_refused("", words="no token")
        self.assert_refused("rg-" + "0" * 64)
        self.assert_admitted(self.static["viewer"])

    def test_jwts_alone_close_a_coordinator(self):
        self.start(tokens=False)
        self.assert_refused("", words="no token")
        self.assert_refused(self.static["admin"])
        self.assert_admitted(self.mint("admin"))


class Rotation(Jwt):
    def test_replaced_keys_count_from_the_next_call_on(self):
        self.start()
        old = self.mint("admin")
        self.assert_admitted(old)
        new_key = jwt_issuer.Key("rsa-2")
        new = self.mint("admin", new_key)
        self.assert_refused(new, words="kid")
        self.replace(self.keys, jwt_issuer.key_set(self.rsa, new_key))
        self.assert_admitted(old)
        self.assert_admitted(new)
        self.replace(self.keys, jwt_issuer.key_set(new_key))
        self.assert_refused(old, words="kid")
        self.assert_admitted(new)
        self.assert_admitted(new_key.sign_parts({"alg": "RS256"}, json.dumps(self.claims_of("admin"))), "the only key")
        # The same id with another key.
        self.replace(self.keys, jwt_issuer.key_set(self.stranger))
        self.assert_refused(old, words="signature")

    def test_replaced_rules_count_from_the_next_call_on(self):
        self.start()
        token = self.mint("admin")
        self.assertEqual(self.call(token, "ClusterService/ListAuditEntries")[0], "OK")
        self.replace(self.roles, RULES.replace("value: admins, role: admin", "value: admins, role: viewer"))
        self.assertEqual(self.call(token, "ClusterService/ListAuditEntries")[0], "PERMISSION_DENIED")
        self.assert_admitted(token)

    def test_damaged_files_reject_every_jwt_and_no_static_token(self):
        self.start()
        token = self.mint("admin")
        for file, damage in ((self.keys, "{"), (self.keys, '{"keys": []}'), (self.keys, None), (self.roles, "rules: []"),
                             (self.roles, None)):
            whole = file.read_text()
            self.assert_admitted(token)
            self.replace(file, damage) if damage else file.unlink()
            self.assert_refused(token, "UNAVAILABLE", "--jwt-keys or --jwt-roles")
            self.assert_admitted(self.static["admin"])
            self.replace(file, whole)
        self.assert_admitted(token)
        self.tokens.unlink()
        self.assert_refused(self.static["admin"], "UNAVAILABLE", "token file")
        self.assert_admitted(token)

    def open_stream(self, token):
        """Starts a stream of the changes of a job. Returns it once its first message has come."""
        stream = self.channel.unary_stream("/regroup.v1.JobService/WatchJob")(
            b"\x0a\x06jobs/a", timeout=120, metadata=[("authorization", f"Bearer {token}")])
        next(iter(stream))
        return stream

    def end_of(self, stream):
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in stream:
                pass
        return caught.exception.code().name, caught.exception.details()

    def submit(self, token):
        """Submits the job "a", which no worker takes."""
        file = self.folder / "submitter.token"
        file.write_text(token)
        job = self.write_job({"name": "a", "source": {"checkpoint": "/models/a"}, "target": {"kv_heads": 2},
                              "calibration": {"data": "/data/a.jsonl"}, "finetune": {"method": "none"},
                              "output": {"checkpoint": "/models/b"}})
        return self.cluster.regroup("submit", job, "--job-id", "a", "--token-file", file, check=True)

    def test_a_stream_ends_with_its_token_and_can_be_opened_with_the_next(self):
        self.start("--jwt-leeway-s", "0")
        self.submit(self.mint("submitter"))
        stream = self.open_stream(self.mint("submitter", exp=time.time() + 4))
        code, message = self.end_of(stream)
        self.assertEqual(code, "UNAVAILABLE")
        self.assertIn("expired", message)
        self.open_stream(self.mint("submitter")).cancel()

    def test_a_stream_ends_when_its_key_is_withdrawn(self):
        self.start()
        self.submit(self.mint("submitter"))
        stream, other = self.open_stream(self.mint("submitter")), self.open_stream(self.mint("submitter", self.ec))
        self.replace(self.keys, jwt_issuer.key_set(self.ec))
        code, message = self.end_of(stream)
        self.assertEqual((code, "withdrawn" in message), ("UNAUTHENTICATED", True), message)
        self.assertTrue(other.is_active())
        other.cancel()

    def test_owners_of_jobs_are_those_of_the_rules(self):
        self.start()
        self.submit(self.mint("submitter"))
        job = self.cluster.regroup("get", "a", "--json", "--token-file", self.write_token(self.static["submitter"]))
        self.assertEqual(json.loads(job.stdout)["owner"], "submitter")
        anothers = self.rsa.sign({**self.claims_of("submitter"), "preferred_username": "bob"})
        self.assertEqual(self.call(anothers, "JobService/GetJob", b"\x0a\x06jobs/a")[0], "NOT_FOUND")

    def write_token(self, token, name="a.token"):
        self.replace(self.folder / name, token + "\n")
        return self.folder / name

    def test_a_worker_and_a_command_line_pick_up_a_rotated_token(self):
        token_file = self.write_token(self.mint("worker", exp=time.time() + 6), "worker.token")
        person = self.write_token(self.mint("admin", exp=time.time() + 6), "person.token")
        self.start("--jwt-leeway-s", "0")
        log = self.folder / "w1.log"
        with open(log, "ab") as output:
            worker = processes.start([places.PROGRAMS / "regroup-worker", "--coordinator", self.cluster.address,
                                      "--id", "w1", "--work-dir", self.cluster.work, "--slots", "1", "--device", "cpu",
                                      "--token-file", token_file], stdout=output, stderr=output)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.terminate)

        def state():
            done = self.cluster.regroup("workers", "--json", "--token-file", person)
            found = json.loads(done.stdout).get("workers", []) if done.returncode == 0 else []
            return found[0]["state"] if found else None

        processes.wait_until(lambda: state() == "WORKER_STATE_READY", "the worker", 60, pause_s=0.2)
        self.write_token(self.mint("worker"), "worker.token")
        time.sleep(7)
        self.assertIsNone(state(), "the person's token has expired")
        self.write_token(self.mint("admin"), "person.token")
        self.assertEqual(state(), "WORKER_STATE_READY")
        self.assertIsNone(worker.poll())
        self.assertNotIn("rejects this worker", log.read_text())


class KeyServer:
    """Serves a key set as an issuer does, over http or https, and counts the requests."""

    def __init__(self, text, context=None):
        self.answer, self.requests = (200, text.encode()), 0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests += 1
                status, body = server.answer
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.end_headers()
                if status == 200:
                    self.wfile.write(body)

            def log_message(self, *_arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Download(Jwt):
    def serve(self, *keys, context=None):
        server = KeyServer(jwt_issuer.key_set(*keys), context)
        self.addCleanup(server.stop)
        return server

    def start_with(self, url, **settings):
        self.start("--jwt-refresh-s", "10", "--jwt-keys", url, keys=False, **settings)

    def wait_until_admitted(self, token):
        processes.wait_until(lambda: self.call(token)[0] == "OK", "the keys", 60, pause_s=0.1)

    def test_keys_are_downloaded_and_rotated(self):
        server = self.serve(self.rsa)
        self.start_with(f"http://127.0.0.1:{server.port}/keys")
        old, new_key = self.mint("admin"), jwt_issuer.Key("rsa-2")
        self.wait_until_admitted(old)
        server.answer = (200, jwt_issuer.key_set(new_key).encode())
        # The unknown key makes the coordinator look again.
        self.wait_until_admitted(self.mint("admin", new_key))
        self.assert_refused(old, words="kid")

    def test_unknown_keys_do_not_cause_a_download_each(self):
        server = self.serve(self.rsa)
        self.start_with(f"http://127.0.0.1:{server.port}/keys")
        self.wait_until_admitted(self.mint("admin"))
        begin, before = time.monotonic(), server.requests
        unknown = self.rsa.sign(self.claims_of("admin"), {"kid": "unknown"})
        for _ in range(300):
            self.assert_refused(unknown, words="kid")
        time.sleep(1.5)
        self.assertLessEqual(server.requests - before, time.monotonic() - begin + 1, "more than one in a second")
        self.assertGreater(server.requests, before)

    def test_failures_keep_the_keys(self):
        server = self.serve(self.rsa)
        self.start_with(f"http://127.0.0.1:{server.port}/keys")
        token = self.mint("admin")
        self.wait_until_admitted(token)
        elsewhere = self.serve(self.stranger)
        for answer in ((500, b""), (404, b""), (200, b"{"), (200, b'{"keys": []}'), (200, b" " * (300 << 10)),
                       (302, f"http://localhost:{elsewhere.port}/keys".encode())):
            server.answer, before = answer, server.requests
            self.assert_refused(self.rsa.sign(self.claims_of("admin"), {"kid": "unknown"}))
            processes.wait_until(lambda: server.requests > before, "a download", 60, pause_s=0.1)
            self.assert_admitted(token, answer)
        self.assertEqual(elsewhere.requests, 0, "plain http to another host")
        log = self.folder / "coordinator.log"
        for words in ("status 500", "not valid JSON", "holds no public key", "is too long", "only https is allowed"):
            processes.wait_until(lambda: words in log.read_text(), words, 60, pause_s=0.1)

    def test_an_issuer_that_is_down_at_the_start_is_asked_again(self):
        server = self.serve(self.rsa)
        server.answer = (503, b"")
        self.start_with(f"http://127.0.0.1:{server.port}/keys")
        token = self.mint("admin")
        self.assert_refused(token, "UNAVAILABLE", "--jwt-keys")
        self.assert_admitted(self.static["admin"])
        server.answer = (200, jwt_issuer.key_set(self.rsa).encode())
        self.wait_until_admitted(token)

    def test_https_is_verified(self):
        subprocess.run([places.PROGRAMS / "regroup-coordinator", "init", "--dir", self.folder / "tls"], check=True,
                       capture_output=True, timeout=60)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "tls/coordinator.pem", self.folder / "tls/coordinator.key")
        server = self.serve(self.rsa, context=context)
        url = f"https://localhost:{server.port}/keys"
        self.start_with(url)
        log = self.folder / "coordinator.log"
        processes.wait_until(lambda: "cannot be downloaded" in log.read_text(), "a failure", 60, pause_s=0.1)
        self.assert_refused(self.mint("admin"), "UNAVAILABLE")
        self.assertEqual(server.requests, 0)
        self.cluster.stop()
        with unittest.mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(self.folder / "tls/authority.pem")}):
            self.start_with(url)
        self.wait_until_admitted(self.mint("admin"))


class Secrets(Jwt):
    def test_no_token_is_in_a_log_the_store_an_argument_or_the_audit_log(self):
        self.start("--log-format", "json")
        refused = self.rsa.sign(jwt_issuer.claims(sub="mallory"))
        for token in (self.mint("admin"), self.mint("worker"), refused, self.stranger.sign(self.claims_of("admin"))):
            for method in methods():
                self.call(token, method, REQUEST)
            self.minted.append(token)
        admin = self.folder / "admin.token"
        admin.write_text(self.minted[0])
        audit = self.cluster.regroup("audit", "--json", "--token-file", admin, check=True).stdout
        self.assertIn("mallory", audit, "the audit log names the subject of a refused token")
        self.assertIn("regroup-worker", audit)
        admin.unlink()
        commands = [path.read_bytes() for name in ("cmdline", "environ") for path in self._proc(name)]
        files = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        self.assertGreater(len(files), 3)
        for token in self.minted:
            # Neither the token nor one of its parts; the header is the same in all tokens.
            for part in (token, *token.split(".")[1:]):
                for path, content in files.items():
                    self.assertNotIn(part.encode(), content, path)
                self.assertNotIn(part, audit)
                self.assertFalse([command for command in commands if part.encode() in command])

    def _proc(self, name):
        return [pathlib.Path(f"/proc/{process.pid}/{name}") for process in processes.processes_of(self.folder)]


class Settings(Jwt):
    def refused(self, *arguments):
        done = subprocess.run([places.PROGRAMS / "regroup-coordinator", "--listen", "127.0.0.1:0", "--metrics-listen", "",
                               "--work-dir", self.folder / "work", *map(str, arguments)], capture_output=True, text=True,
                              timeout=60)
        self.assertNotEqual(done.returncode, 0)
        return done.stdout + done.stderr

    def test_issuer_audience_and_roles_are_required(self):
        given = {"--jwt-keys": self.keys, "--jwt-issuer": "a", "--jwt-audience": "b", "--jwt-roles": self.roles}
        for left_out in given:
            rest = [word for pair in given.items() if pair[0] != left_out for word in pair]
            self.assertIn("must be given together", self.refused(*rest))
            self.assertIn("must be given together", self.refused(*rest, left_out, ""))

    def test_a_url_must_be_https_or_lead_to_this_machine(self):
        for url in ("http://issuer.example.org/keys", "http://127.0.0.1.example.org/keys", "ftp://127.0.0.1/keys",
                    "file:///etc/passwd", "http://10.0.0.1/keys", "https://"):
            self.assertIn("neither a file nor an https URL", self.refused(
                "--jwt-keys", url, "--jwt-issuer", "a", "--jwt-audience", "b", "--jwt-roles", self.roles), url)

    def test_files_must_be_readable_at_the_start(self):
        arguments = ["--jwt-keys", self.keys, "--jwt-issuer", "a", "--jwt-audience", "b", "--jwt-roles", self.roles]
        self.replace(self.roles, "rules:\n  - {claim: sub, value: a, role: king}\n")
        self.assertIn(f"{self.roles}:2:", self.refused(*arguments))
        self.replace(self.roles, RULES)
        self.replace(self.keys, jwt_issuer.key_set(jwt_issuer.Key("weak", bits=1024)))
        self.assertIn(f"{self.keys} key 1 has fewer than 2048 bits", self.refused(*arguments))
        self.keys.unlink()
        self.assertIn(str(self.keys), self.refused(*arguments))


class Examples(Jwt):
    def test_service_accounts_of_kubernetes_get_the_roles_of_the_example(self):
        self.replace(self.roles, (EXAMPLES / "kubernetes-roles.yaml").read_text())
        self.start()
        for account, pod, allowed, refused in (
                ("regroup-worker", "w1", "WorkerService/AcquireTask", "JobService/ListJobs"),
                ("nightly", "nightly-1", "JobService/SubmitJob", "ClusterService/DrainWorker"),
                ("default", "shell", "JobService/ListJobs", "JobService/SubmitJob")):
            token = self.rsa.sign(jwt_issuer.service_account("ml", account, pod))
            self.assertNotIn(self.call(token, allowed, REQUEST)[0], ("PERMISSION_DENIED", "UNAUTHENTICATED"), account)
            self.assertEqual(self.call(token, refused, REQUEST)[0], "PERMISSION_DENIED", account)
        self.assert_refused(self.rsa.sign(jwt_issuer.service_account("other", "regroup-worker", "w1")), "PERMISSION_DENIED")

    def test_the_commands_flags_and_rules_of_the_guide_admit_a_service_account(self):
        guide = (places.REPOSITORY / "deploy/OPERATIONS.md").read_text()
        chapter = guide.split("\n## JSON Web Tokens\n")[1].split("\n## ")[0]
        flags = re.search(r"^    (--jwt-keys .*)$", chapter, re.MULTILINE)[1].split()
        rules = re.search(r"^    rules:\n(?:    .*\n)+", chapter, re.MULTILINE)[0]
        self.keys.unlink()
        issuer = self.run_commands(re.search(r"<!-- run -->\n```sh\n(.*?)```", chapter, re.DOTALL)[1]).strip()
        self.assertEqual(flags[flags.index("--jwt-issuer") + 1], issuer)
        self.replace(self.roles, textwrap.dedent(rules))
        files = {"/etc/regroup/jwt/keys.json": self.keys, "/etc/regroup/jwt/roles.yaml": self.roles}
        self.cluster = self.start_cluster(workers=0, coordinator_arguments=[files.get(word, word) for word in flags])
        self.channel = grpc.insecure_channel(self.cluster.address)
        self.addCleanup(self.channel.close)
        mine = self.rsa.sign(jwt_issuer.service_account("ml", "regroup-worker", "w1", iss=issuer))
        self.assertEqual(self.call(mine, "ClusterService/GetServerInfo")[0], "OK")

    def run_commands(self, commands):
        """Runs them with a kubectl that answers as a cluster does."""
        configuration = {"issuer": "https://kubernetes.default.svc.cluster.local",
                         "jwks_uri": "https://10.0.0.1/openid/v1/jwks"}
        answers = {"/openid/v1/jwks": jwt_issuer.key_set(self.rsa),
                   "/.well-known/openid-configuration": json.dumps(configuration)}
        for path, answer in answers.items():
            self.write_answer(path, answer)
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "kubectl").write_text(f'#!/bin/sh\n[ "$1 $2" = "get --raw" ] && cat "{self.folder}/answers$3"\n')
        (programs / "kubectl").chmod(0o755)
        return subprocess.run(["bash", "-euo", "pipefail", "-c", commands], check=True, capture_output=True, text=True,
                              timeout=60, env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
                                               "FOLDER": str(self.folder)}).stdout

    def write_answer(self, path, answer):
        file = self.folder / f"answers{path}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(answer)

    def test_people_get_the_roles_of_the_example(self):
        self.replace(self.roles, (EXAMPLES / "people-roles.yaml").read_text())
        self.start()
        people = {"root": {"groups": ["ml-platform"]}, "people.alice": {"realm_access": {"roles": ["trainer"]}}}
        for owner, changes in people.items():
            token = self.rsa.sign(jwt_issuer.claims(sub="0-1", preferred_username=owner.removeprefix("people."), **changes))
            may_drain = self.call(token, "ClusterService/DrainWorker", REQUEST)
            self.assertEqual(may_drain[0] == "PERMISSION_DENIED", owner != "root", may_drain)
            if owner != "root":
                self.assertIn(f'"{owner}" is submitter', may_drain[2])


if __name__ == "__main__":
    unittest.main(verbosity=2)
