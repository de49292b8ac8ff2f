#!/usr/bin/env python3
"""Reads addresses from a hub, a web server and a bucket while connections break, files change and disks fill."""

import json
import os
import pathlib
import random
import signal
import subprocess
import time
import unittest

from harness import bucket_server, hub_server, mounts, processes
from harness.program_test import ProgramTest

TOOL = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "address_tool"
BYTES = 3_000_000


class DownloadTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.repositories = self.folder / "repositories"
        self.model = self.repositories / "org" / "model"
        self.model.mkdir(parents=True)
        self.content = random.Random(1).randbytes(BYTES)
        (self.model / "model.safetensors").write_bytes(self.content)
        (self.model / "config.json").write_text('{"model_type": "llama"}')
        self.certificate = hub_server.make_certificate(self.folder)
        self.hub = hub_server.Hub(self.repositories, self.certificate, token="hf_secret")
        self.addCleanup(self.hub.stop)
        self.cache = self.folder / "cache"
        self.targets = 0

    @property
    def target(self):
        """The folder of the last fetch: each has its own, as each attempt has."""
        return self.folder / f"target-{self.targets}"

    def command(self, address, *words):
        self.targets += 1
        return [TOOL, "fetch", address, self.target, self.cache, *words]

    def environment(self, allowed=("hf://", "s3://", "https://"), private=True, cache_bytes=1 << 30, **more):
        rules = {"allowed": allowed, "private_addresses": private, "cache_bytes": cache_bytes}
        return {"REGROUP_REMOTE_RULES": json.dumps(rules), **self.hub.environment(), **more}

    def run_tool(self, address, *words, environment=None):
        return subprocess.run(self.command(address, *words), env=environment or self.environment(),
                              capture_output=True, text=True, timeout=300)

    def fetch(self, address, *words, environment=None):
        done = self.run_tool(address, *words, environment=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(reversed(line.split(" ", 1)) for line in done.stdout.splitlines())

    def refuse(self, pattern, address, *words, environment=None):
        done = self.run_tool(address, *words, environment=environment)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stderr.splitlines()[-1], pattern)
        self.assertNotIn("hf_secret", done.stderr)
        self.assertNotIn("signature=", done.stderr)
        return done

    def fetched(self, name="model/model.safetensors"):
        return (self.target / name).read_bytes()

    def large_reads(self):
        return [headers.get("range", "whole") for command, path, headers in self.hub.files.requests
                if path.endswith("model.safetensors")]

    def kill_a_reader_halfway(self):
        """Kills a reader that has everything that was sent to it, half the file, and asks for the rest."""
        self.hub.files.cuts = [BYTES // 2]
        self.hub.files.holds_after_the_cut = True
        running = subprocess.Popen(self.command("hf://org/model"), env=self.environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        processes.wait_until(lambda: self.hub.files.held, "the request after the cut", pause_s=0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        self.hub.files.go_on()

    def test_a_model_is_read_once_and_the_token_stays_with_the_hub(self):
        self.assertEqual(self.fetch("hf://org/model"), {"model/config.json": "23", "model/model.safetensors": str(BYTES)})
        self.assertEqual(self.fetched(), self.content)
        for command, path, headers in self.hub.files.requests:
            self.assertNotIn("authorization", headers)
        before = self.hub.files.sent
        self.fetch("hf://org/model@main")
        self.assertEqual(self.fetched(), self.content)
        self.assertEqual(self.hub.files.sent, before)

    def test_connections_cut_at_every_tenth_go_on_where_they_broke(self):
        self.hub.files.cuts = [BYTES * tenth // 10 for tenth in range(1, 10)]
        self.fetch("hf://org/model")
        self.assertEqual(self.fetched(), self.content)
        self.assertEqual(self.hub.files.cuts, [])
        # What had been sent but was lost with its connection is sent again; nothing else is.
        self.assertLess(self.hub.files.sent, BYTES * 1.3)
        self.assertEqual(len(self.large_reads()), 10)

    def test_a_killed_reader_goes_on_where_it_stopped(self):
        self.kill_a_reader_halfway()
        self.assertFalse(self.target.exists() and list(self.target.rglob("*.safetensors")))
        self.fetch("hf://org/model")
        self.assertEqual(self.fetched(), self.content)
        self.assertLess(self.hub.files.sent, BYTES * 1.2)

    def test_a_server_without_ranges_is_read_from_the_start(self):
        self.hub.files.ignores_ranges = True
        self.hub.files.cuts = [BYTES // 3]
        self.fetch("hf://org/model")
        self.assertEqual(self.fetched(), self.content)

    def test_a_server_that_asks_for_patience_gets_it(self):
        self.hub.files.refusals = [(429, {"Retry-After": "2"}), (503, {})]
        start = time.monotonic()
        self.fetch("hf://org/model")
        self.assertGreaterEqual(time.monotonic() - start, 3)
        self.assertEqual(self.fetched(), self.content)

    def test_a_wrong_digest_leaves_nothing(self):
        for name, word in (("model.safetensors", "SHA-256"), ("config.json", "Git name")):
            with self.subTest(name):
                self.hub.promises = {name: "0" * (64 if word == "SHA-256" else 40)}
                self.refuse(f"^DATA_LOSS: hf://org/model, model/{name}: the content has {word}", "hf://org/model")
                self.assertFalse((self.target / "model" / name).exists())
                self.assertEqual([path for path in self.cache.iterdir() if "0000000000" in path.name and path.stat().st_size], [])

    def test_a_damaged_part_is_read_anew(self):
        self.kill_a_reader_halfway()
        [part] = [path for path in self.cache.glob("*.part") if path.stat().st_size > 100_000]
        with open(part, "r+b") as file:
            file.write(b"damage")
        self.fetch("hf://org/model")
        self.assertEqual(self.fetched(), self.content)

    def test_refusals_say_what_is_wrong(self):
        self.refuse("^NOT_FOUND: hf://org/nothing: 127.0.0.1 answers with status 404", "hf://org/nothing")
        self.refuse("^NOT_FOUND: hf://org/model/no/such: 127.0.0.1 answers with status 404", "hf://org/model/no/such")
        self.refuse("^NOT_FOUND: hf://org/model/none names no files", "hf://org/model/none")
        self.refuse("^PERMISSION_DENIED: hf://org/model: 127.0.0.1 answers with status 401", "hf://org/model",
                    environment={**self.environment(), "HF_TOKEN": "hf_secret_of_nobody"})
        self.refuse("^PERMISSION_DENIED: hf://org/model is not below a prefix", "hf://org/model",
                    environment=self.environment(allowed=("hf://org/other", "hf://org/mod", "s3://")))
        self.hub.files.refusals = [(403, {})] * 2
        self.refuse("^PERMISSION_DENIED: hf://org/model, model/config.json: 127.0.0.1 answers with status 403",
                    "hf://org/model")

    def test_a_checkpoint_is_read_without_what_other_programs_need(self):
        for name in ("pytorch_model.bin", "onnx/model.onnx", "original/model.safetensors", "tokenizer.json",
                     "consolidated.safetensors", ".gitattributes", "flax_model.msgpack"):
            (self.model / name).parent.mkdir(exist_ok=True)
            (self.model / name).write_text(name)
        self.assertEqual(set(self.fetch("hf://org/model", "checkpoint")),
                         {"model/config.json", "model/model.safetensors", "model/tokenizer.json"})
        self.assertEqual(len(self.fetch("hf://org/model")), 9)

    def test_data_sets_by_folder_file_and_pattern(self):
        texts = self.repositories / "datasets" / "org" / "texts"
        for name in ("train/a.jsonl", "train/b.jsonl.gz", "train/notes.md", "valid.jsonl"):
            (texts / name).parent.mkdir(parents=True, exist_ok=True)
            (texts / name).write_text(name)
        address = "hf://datasets/org/texts"
        self.assertEqual(set(self.fetch(f"{address}/train")), {"train/a.jsonl", "train/b.jsonl.gz", "train/notes.md"})
        self.assertEqual(set(self.fetch(f"{address}@main/valid.jsonl")), {"valid.jsonl"})
        self.assertEqual(set(self.fetch(f"{address}/train/*.jsonl*")), {"a.jsonl", "b.jsonl.gz"})

    def test_names_that_leave_the_folder_are_refused(self):
        for name in ("../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "a\nb"):
            self.hub.more_names = [name]
            self.refuse("^INVALID_ARGUMENT: hf://org/model has the object", "hf://org/model")

    def test_all_pages_of_a_hub_are_read(self):
        self.hub.page = 3
        for number in range(10):
            (self.model / f"part-{number}.json").write_text(str(number))
        self.assertEqual(len(self.fetch("hf://org/model")), 12)
        self.assertEqual(set(self.fetch("hf://org/model/part-*.json")), {f"part-{number}.json" for number in range(10)})

    def test_revisions(self):
        self.hub.revisions |= {"refs/pr/1", "v1.0"}
        self.assertEqual(len(self.fetch("hf://org/model@refs/pr/1")), 2)
        self.assertEqual(set(self.fetch("hf://org/model@refs/pr/1/config.json")), {"config.json"})
        self.assertEqual(len(self.fetch("hf://org/model@v1.0")), 2)
        self.refuse("^NOT_FOUND: hf://org/model@v2.0", "hf://org/model@v2.0")

    def test_an_error_that_repeats_the_token_is_not_shown(self):
        done = self.run_tool("hf://org/model", environment={**self.environment(), "HF_TOKEN": "hf_another_secret"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("status 401", done.stderr)
        self.assertNotIn("hf_another_secret", done.stderr)

    def test_private_addresses_are_refused_unless_configured(self):
        web = hub_server.FileServer(self.repositories, self.certificate)
        self.addCleanup(web.stop)
        address = f"https://127.0.0.1:{web.port}/org/model/config.json"
        trusted = {"SSL_CERT_FILE": str(self.folder / "web.crt")}
        self.refuse("^PERMISSION_DENIED: https://127.0.0.1:.*private address", address,
                    environment={**self.environment(private=False, HF_ENDPOINT="https://hub.example"), **trusted})
        self.assertEqual(web.requests, [])
        self.refuse("^FAILED_PRECONDITION: https://127.0.0.1.*certificate", address,
                    environment=self.environment(SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt"))
        # A proxy decides what may be reached: NO_PROXY leads no one past it.
        self.refuse("^UNAVAILABLE: https://127.0.0.1:", address, environment={
            **self.environment(private=False, HF_ENDPOINT="https://hub.example"), **trusted,
            "HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.0/8"})
        self.assertEqual(web.requests, [])
        self.assertEqual(set(self.fetch(address, environment={**self.environment(), **trusted})), {"config.json"})
        self.assertEqual(set(self.fetch(f"https://127.0.0.1:{web.port}/org/model", "checkpoint",
                                        environment={**self.environment(), **trusted})),
                         {"model/config.json", "model/model.safetensors"})

    def test_a_redirect_to_plain_http_elsewhere_is_refused(self):
        web = hub_server.FileServer(self.repositories, self.certificate)
        self.addCleanup(web.stop)
        # The name of the same machine, which nobody configured.
        web.answer = lambda handler: web.reply(handler, 302, b"", {"Location": f"http://localhost:{self.hub.port}/x"})
        self.refuse("^PERMISSION_DENIED: http://localhost:.*only https", f"https://127.0.0.1:{web.port}/x",
                    environment=self.environment())
        # Nor is the configured host trusted at another port.
        web.answer = lambda handler: web.reply(handler, 302, b"", {"Location": f"http://127.0.0.1:{web.port + 1}/x"})
        self.refuse("^PERMISSION_DENIED: http://127.0.0.1:.*only https", f"https://127.0.0.1:{web.port}/x")

    def test_an_index_that_names_files_elsewhere_is_refused(self):
        web = hub_server.FileServer(self.repositories, self.certificate)
        self.addCleanup(web.stop)
        (self.model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../private/x"}}')
        self.refuse("^INVALID_ARGUMENT: .*names a file outside of its folder", f"https://127.0.0.1:{web.port}/org/model",
                    "checkpoint")
        self.assertEqual([path for _, path, _ in web.requests if "private" in path], [])

    def test_without_a_version_nothing_is_joined(self):
        web = hub_server.FileServer(self.repositories, self.certificate)
        self.addCleanup(web.stop)
        web.weak_tags = True
        web.cuts = [BYTES // 2]
        self.fetch(f"https://127.0.0.1:{web.port}/org/model/model.safetensors")
        self.assertEqual(self.fetched("model.safetensors"), self.content)
        self.assertEqual([headers.get("range") for command, _, headers in web.requests if command == "GET"], [None, None])

    def test_a_file_that_changes_meanwhile_is_not_mixed(self):
        web = hub_server.FileServer(self.repositories, self.certificate)
        self.addCleanup(web.stop)
        other = bytes(reversed(self.content))
        web.cuts = [BYTES // 2]
        original = web.serve_file

        def change_after_the_cut(handler, file):
            if not web.cuts:
                web.changed = {file.name: other}
            original(handler, file)

        web.serve_file = change_after_the_cut
        address = f"https://127.0.0.1:{web.port}/org/model/model.safetensors"
        environment = {**self.environment(), "SSL_CERT_FILE": str(self.folder / "web.crt")}
        self.refuse("^UNAVAILABLE: .*the file changed while it was read", address, environment=environment)
        self.fetch(address, environment=environment)
        self.assertEqual(self.fetched("model.safetensors"), other)

    def test_a_full_disk_keeps_what_was_read(self):
        self.cache = mounts.mount(self, self.folder / "small", 2_000_000)
        self.refuse("^RESOURCE_EXHAUSTED: .*small", "hf://org/model")
        mounts.resize(self.cache, 8_000_000)
        before = self.hub.files.sent
        self.fetch("hf://org/model")
        self.assertEqual(self.fetched(), self.content)
        self.assertLess(self.hub.files.sent - before, BYTES // 2)

    def test_the_oldest_files_leave_the_cache(self):
        self.fetch("hf://org/model")
        of_the_job = self.target / "model" / "model.safetensors"
        small = self.repositories / "org" / "small"
        small.mkdir()
        (small / "model.safetensors").write_bytes(b"s" * 5000)
        self.fetch("hf://org/small", environment=self.environment(cache_bytes=BYTES + 100))
        self.fetch("hf://org/small", environment=self.environment(cache_bytes=100_000))
        sizes = [path.stat().st_size for path in self.cache.iterdir() if not path.name.endswith(".lock")]
        self.assertNotIn(BYTES, sizes)
        self.assertIn(5000, sizes)
        # What a job has of it stays.
        self.assertEqual(of_the_job.read_bytes(), self.content)

    def test_two_readers_of_one_file_read_it_once(self):
        running = [subprocess.Popen([TOOL, "fetch", "hf://org/model", self.folder / f"reader-{i}", self.cache],
                                    env=self.environment(), stdout=subprocess.DEVNULL) for i in range(3)]
        self.assertEqual([process.wait(timeout=120) for process in running], [0, 0, 0])
        self.assertEqual(len(self.large_reads()), 1)

    def test_objects_of_a_bucket(self):
        bucket = bucket_server.BucketServer(self.folder)
        self.addCleanup(bucket.stop)
        bucket.put_folder(self.model, "team/model")
        bucket.s3.put_object(Bucket=bucket_server.BUCKET, Key="team/model-other", Body=b"no part of it")
        # More than a page of keys that come before those that are meant.
        for number in range(1100):
            bucket.s3.put_object(Bucket=bucket_server.BUCKET, Key=f"texts/a{number:04}.md", Body=b"")
        for name in ("texts/z1.jsonl", "texts/z2.jsonl"):
            bucket.s3.put_object(Bucket=bucket_server.BUCKET, Key=name, Body=name.encode())
        bucket.s3.put_object(Bucket=bucket_server.BUCKET, Key="team/ä b.jsonl", Body=b"odd name")
        environment = self.environment(**bucket.environment())
        self.assertEqual(set(self.fetch("s3://models/team/model", environment=environment)),
                         {"model/config.json", "model/model.safetensors"})
        self.assertEqual(self.fetched(), self.content)
        self.assertEqual(set(self.fetch("s3://models/team/*.jsonl", environment=environment)), {"ä b.jsonl"})
        self.assertEqual(set(self.fetch("s3://models/texts/*.jsonl", environment=environment)), {"z1.jsonl", "z2.jsonl"})
        self.assertEqual(len(self.fetch("s3://models/texts", environment=environment)), 1102)
        self.refuse("^PERMISSION_DENIED: s3://models/team@x/y is not below", "s3://models/team@x/y",
                    environment=self.environment(allowed=("s3://models/team",), **bucket.environment()))
        self.refuse("^PERMISSION_DENIED: s3://models/team/model: 127.0.0.1 answers with status 403",
                    "s3://models/team/model", environment={**environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
        self.refuse("^NOT_FOUND: s3://models/team/none names no files", "s3://models/team/none", environment=environment)


if __name__ == "__main__":
    mounts.enter_namespace()
    unittest.main()
