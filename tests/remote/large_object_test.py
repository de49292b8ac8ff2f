#!/usr/bin/env python3
"""Reads and sends objects in which offsets do not fit into 32 bits, while programs are killed behind 4 GiB.

With REGROUP_NIGHTLY=1 the objects have 5 GiB and are read from their start. Otherwise they have 4.25 GiB, which saves half of
the time, and the reader goes on from a file that has all but the last 16 MiB before 4 GiB. The files are sparse, with random
bytes at their ends and around 4 GiB, so that a wrong offset yields another digest. The S3 server of the other tests (moto)
joins parts in memory, in two copies, so the upload goes to a server that keeps the digests of the parts."""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import unittest

from harness import hub_server, processes
from harness.program_test import ProgramTest
from multipart_recorder import MultipartRecorder

TOOL = pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "address_tool"
NIGHTLY = os.environ.get("REGROUP_NIGHTLY") == "1"
BORDER = 1 << 32
BYTES = 5 << 30 if NIGHTLY else BORDER + (256 << 20)
MARK = 1 << 20
MARKS = (0, BORDER - 20 * MARK, BORDER - MARK, BORDER + 3 * MARK, BORDER + 200 * MARK, BYTES - MARK)
PART = 64 << 20
# Kilobytes of memory that a program may need at its peak.
MOST_MEMORY_KB = 200_000


def write_sparse(file, size):
    """Writes the first bytes of the large object."""
    with open(file, "wb") as content:
        for offset in MARKS:
            if offset < size:
                content.seek(offset)
                content.write(random.Random(offset).randbytes(MARK))
        content.truncate(size)


class LargeObjectTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "repositories" / "org" / "model"
        self.model.mkdir(parents=True)
        self.large = self.model / "model.safetensors"
        write_sparse(self.large, BYTES)

    def environment(self, **more):
        rules = {"allowed": ["hf://", "s3://"], "private_addresses": True, "cache_bytes": BYTES}
        return {"REGROUP_REMOTE_RULES": json.dumps(rules), **more}

    def kill_when(self, condition, command, environment):
        running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.wait_until(lambda: condition() or running.poll() is not None, "the moment to kill", pause_s=0.001)
        running.send_signal(signal.SIGKILL)
        self.assertEqual(running.wait(), -signal.SIGKILL)

    def succeed(self, command, environment):
        """Runs the program to its end in bounded memory."""
        errors = self.folder / "errors"
        with open(errors, "wb") as file:
            running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(running.returncode, 0, errors.read_text())
        self.assertLess(usage.ru_maxrss, MOST_MEMORY_KB)

    def test_a_reader_killed_behind_4_gib_goes_on(self):
        hub = hub_server.Hub(self.model.parent.parent, hub_server.make_certificate(self.folder))
        self.addCleanup(hub.stop)
        digest = hub_server.sha256_of(self.large)
        cache = self.folder / "cache"
        cache.mkdir()
        begun = 0 if NIGHTLY else BORDER - 16 * MARK
        if begun:
            write_sparse(cache / f"sha256-{digest}.part", begun)
        cut = BORDER + 100 * MARK
        hub.files.cuts = [cut - begun]
        hub.files.holds_after_the_cut = True
        command = [TOOL, "fetch", "hf://org/model/model.safetensors", self.folder / "target", cache]
        environment = self.environment(**hub.environment())
        self.kill_when(lambda: hub.files.held, command, environment)
        hub.files.go_on()
        self.succeed(command, environment)
        fetched = self.folder / "target" / "model.safetensors"
        self.assertEqual(fetched.stat().st_size, BYTES)
        with open(fetched, "rb") as content:
            for offset in MARKS:
                content.seek(offset)
                self.assertEqual(content.read(MARK), random.Random(offset).randbytes(MARK), offset)
        ranges = [headers.get("range", "bytes=0-") for _, _, headers in hub.files.requests]
        self.assertEqual(ranges, [f"bytes={begun}-", f"bytes={cut}-", f"bytes={cut}-"])
        self.assertEqual(hub.files.sent, BYTES - begun)

    def digests(self):
        """Returns the digest of the large file and those of its parts."""
        whole, parts = hashlib.sha256(), {}
        with open(self.large, "rb") as content:
            for number in range(1, BYTES // PART + 1):
                piece = content.read(PART)
                whole.update(piece)
                parts[number] = (PART, hashlib.sha256(piece).hexdigest())
        return whole.hexdigest(), parts

    def test_an_upload_killed_behind_4_gib_goes_on(self):
        server = MultipartRecorder()
        self.addCleanup(server.stop)
        digest, parts = self.digests()
        (self.model / "regroup").mkdir()
        (self.model / "regroup" / "SHA256SUMS").write_text(f"{digest}  model.safetensors\n")
        command = [TOOL, "upload", self.model, "s3://models/out", self.folder / "journal.json", str(PART)]
        environment = self.environment(AWS_ENDPOINT_URL=server.url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
        self.kill_when(lambda: server.received > BORDER, command, environment)
        self.succeed(command, environment)
        self.assertEqual(server.parts["out/model.safetensors"], parts)
        self.assertEqual(server.objects["out/model.safetensors"], BYTES)
        marker = json.loads(server.bodies["out/regroup/complete.json"])
        self.assertEqual(marker["files"]["model.safetensors"], {"bytes": BYTES, "sha256": digest})
        # Of what was sent before the kill, only the part whose answer was lost is sent again.
        self.assertLessEqual(server.received, BYTES + 2 * PART)


if __name__ == "__main__":
    unittest.main()
