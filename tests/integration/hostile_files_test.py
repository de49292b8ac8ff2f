#!/usr/bin/env python3
"""Sources and data that lead to files of others, that make a reader wait, or that are far too large."""

import json
import os
import shutil
import socket
import stat
import time
import unittest

from harness import cluster, job_file, places
from harness.program_test import ProgramTest, digest_of

JOB_FAILED = 1
SECRET = "the token of a worker"
# For what must not hang: far above the second that it takes, far below the watchdog.
AT_ONCE_S = 60
SPARSE_BYTES = 64 << 30


def most_bytes_of(name):
    """Returns the size above which a JSON file of a checkpoint is refused."""
    return 4 << 20 if name == "config.json" else 64 << 20


class HostileFilesTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = self.folder / "data"
        self.data.mkdir()
        self.secret = self.folder / "secrets" / "worker.token"
        self.secret.parent.mkdir()
        self.secret.write_text(SECRET)
        self.text = shutil.copy(places.TRAINING_TEXT, self.data / "train.jsonl")

    def source(self, name="source"):
        return shutil.copytree(places.MODEL, self.data / name)

    def job_on(self, source, **changes):
        data = {"calibration": {"data": str(self.text)}}
        return job_file.aligned_only(self.output, source={"checkpoint": str(source)}, **{**data, **changes})

    def replace_by_link(self, file, target):
        file.unlink(missing_ok=True)
        file.symlink_to(target)

    def published(self):
        return {str(path.relative_to(self.output)): path for path in self.output.rglob("*") if path.is_file()}

    def assert_secret_is_not_published(self):
        for name, path in self.published().items():
            self.assertNotIn(SECRET.encode(), path.read_bytes(), name)

    def confined_cluster(self, roots_of_coordinator=True, roots_of_worker=True):
        roots = ["--data-root", self.data]
        return self.start_cluster(workers=1, coordinator_arguments=roots if roots_of_coordinator else (),
                                  worker_arguments=roots if roots_of_worker else ())

    def fail_on(self, service, job, *fragments):
        """Runs the job on the cluster; it must fail soon, with all fragments in its message. Returns the job."""
        began = time.monotonic()
        done = service.wait_for_end(service.submit(self.write_job(job)), AT_ONCE_S)
        self.assertLess(time.monotonic() - began, AT_ONCE_S)
        self.assertEqual(done["state"], "JOB_STATE_FAILED", done)
        for fragment in fragments:
            self.assertIn(fragment, done["failure"]["message"])
        self.assert_nothing_published()
        return done

    def run_alone(self, job):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")

    # Links.

    def test_a_file_of_any_name_is_not_copied_through_a_link(self):
        source = self.source()
        for name in ("a.txt", "worker.md", "secret.json", "keys.model", ".token"):
            (source / name).symlink_to(self.secret)
        (source / "vocab-notes.txt").write_text("a file that no tokenizer reads")
        done = self.run_alone(self.job_on(source))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assert_secret_is_not_published()
        for name in ("a.txt", "worker.md", "secret.json", "keys.model", ".token", "vocab-notes.txt"):
            self.assertNotIn(name, self.published())
        self.assertIn("tokenizer.json", self.published())

    def test_a_companion_that_is_a_link_to_a_secret_is_refused_before_the_work(self):
        source = self.source()
        self.replace_by_link(source / "README.md", self.secret)
        done = self.run_alone(self.job_on(source))
        self.assertEqual(done.returncode, JOB_FAILED)
        self.assertRegex(done.stdout + done.stderr, "source.checkpoint.*README.md.*link")
        self.assert_nothing_published()

    def test_every_kind_of_file_stays_in_the_data_roots_of_a_cluster(self):
        service = self.confined_cluster()
        stolen = shutil.copytree(places.MODEL, self.folder / "secrets" / "model")
        for name in ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json", "LICENSE"):
            with self.subTest(name):
                source = self.source(f"with-{name}")
                self.replace_by_link(source / name, stolen / name if (stolen / name).exists() else self.secret)
                job = self.fail_on(service, self.job_on(source), "source.checkpoint", name)
                self.assertEqual(job["failure"]["failure_class"], "FAILURE_CLASS_USER")
                self.assertNotIn(SECRET, json.dumps(job))

    def test_data_that_becomes_a_link_after_submission_is_refused(self):
        service = self.confined_cluster()
        outside = shutil.copy(places.TRAINING_TEXT, self.secret.parent / "of-others.jsonl")
        folder = self.data / "texts"
        folder.mkdir()
        text = shutil.copy(places.TRAINING_TEXT, folder / "train.jsonl")
        source = self.source()
        # Held by a slow start of the worker, so that the check at submission is over.
        service.stop()
        service.workers.clear()
        service.start_coordinator()
        name = service.submit(self.write_job(self.job_on(source, calibration={"data": str(text)})))
        self.replace_by_link(folder / "train.jsonl", outside)
        service.start_worker("worker-1")
        done = service.wait_for_end(name, AT_ONCE_S)
        self.assertEqual(done["state"], "JOB_STATE_FAILED")
        self.assertIn("calibration.data", done["failure"]["message"])

    def test_the_roots_of_the_coordinator_alone_or_of_the_worker_alone_confine_the_trainer(self):
        for side in ("coordinator", "worker"):
            with self.subTest(side):
                self.confine_by(side)

    def confine_by(self, side):
        folder = self.folder / side
        folder.mkdir()
        service = cluster.Cluster(folder, workers=1,
                                  **{f"{side}_arguments": ["--data-root", self.data]})
        self.addCleanup(service.stop)
        source = self.source(f"source-{side}")
        self.replace_by_link(source / "model.safetensors", places.MODEL / "model.safetensors")
        self.fail_on(service, self.job_on(source), "model.safetensors")
        service.stop()

    def test_a_link_from_one_root_to_another_works(self):
        other = self.folder / "models"
        shutil.copytree(places.MODEL, other)
        source = self.source()
        for name in ("model.safetensors", "tokenizer.json"):
            self.replace_by_link(source / name, other / name)
        roots = ["--data-root", self.data, "--data-root", other]
        service = self.start_cluster(workers=1, coordinator_arguments=roots, worker_arguments=roots)
        self.assert_succeeded(service.wait_for_end(service.submit(self.write_job(self.job_on(source)))))
        self.assertEqual(digest_of(self.output / "tokenizer.json"), digest_of(places.MODEL / "tokenizer.json"))

    def hugging_face_cache(self):
        """Returns a snapshot folder whose files are links to blobs, as huggingface_hub lays them out."""
        repository = self.data / "hub" / "models--demo--model"
        snapshot = repository / "snapshots" / "0123456789abcdef"
        blobs = repository / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for file in places.MODEL.iterdir():
            blob = blobs / digest_of(file)
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
        return snapshot

    def test_a_hugging_face_cache_works_alone_and_in_a_confined_cluster(self):
        snapshot = self.hugging_face_cache()
        done = self.run_alone(self.job_on(snapshot))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(digest_of(self.output / "tokenizer.json"), digest_of(places.MODEL / "tokenizer.json"))
        shutil.rmtree(self.output)
        service = self.confined_cluster()
        self.assert_succeeded(service.wait_for_end(service.submit(self.write_job(self.job_on(snapshot)))))
        self.assertTrue(stat.S_ISREG(os.lstat(self.output / "tokenizer.json").st_mode))

    # Files that are not regular ones.

    def irregular(self, path, kind):
        path.unlink(missing_ok=True)
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            # The name of a socket may have 107 characters, so it is made under a short one.
            short = f"/tmp/regroup-{os.getpid()}"
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(short)
            shutil.move(short, path)
        else:
            path.symlink_to("/dev/zero")

    def test_what_is_no_file_is_refused_at_once_as_every_kind_of_file(self):
        service = self.start_cluster(workers=1)
        for kind in ("FIFO", "socket", "device"):
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "LICENSE"):
                with self.subTest(kind=kind, name=name):
                    source = self.source(f"{kind}-{name}")
                    self.irregular(source / name, kind)
                    self.fail_on(service, self.job_on(source), "source.checkpoint", name, kind)
            for key in ("calibration", "finetune", "multiple_choice"):
                with self.subTest(kind=kind, key=key):
                    data = self.data / f"{kind}-{key}.jsonl"
                    self.irregular(data, kind)
                    self.fail_on(service, self.job_with_data(key, data), key, data.name, kind)

    def job_with_data(self, key, data):
        source = places.MODEL
        if key == "calibration":
            return self.job_on(source, calibration={"data": str(data)})
        if key == "finetune":
            return job_file.small_job(self.output, finetune={"data": str(data)})
        choices = [{"name": "set", "data": str(data)}]
        return self.job_on(source, evaluation={"multiple_choice": choices})

    def test_a_plan_of_what_is_no_file_is_refused_at_once_by_the_coordinator(self):
        service = self.start_cluster(workers=0)
        for kind in ("FIFO", "socket", "device"):
            source = self.source(kind)
            self.irregular(source / "config.json", kind)
            done = service.regroup("plan", self.write_job(self.job_on(source)), "--remote", patience_s=AT_ONCE_S)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("config.json", done.stderr)
            self.assertIn(kind, done.stderr)

    # What is too large.

    def make_sparse(self, path):
        path.unlink(missing_ok=True)
        with open(path, "wb") as file:
            file.truncate(SPARSE_BYTES)

    def test_a_huge_sparse_file_is_refused_at_once_with_its_name_and_the_bound(self):
        service = self.start_cluster(workers=1)
        index = "model.safetensors.index.json"
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", index, "LICENSE"):
            with self.subTest(name):
                source = self.source(f"huge-{name}")
                if name == index:
                    (source / "model.safetensors").unlink()
                self.make_sparse(source / name)
                done = self.fail_on(service, self.job_on(source), "source.checkpoint", name, str(most_bytes_of(name)))
                self.assertEqual([task["epoch"] for task in done["tasks"] if task["name"].endswith("/inspect")], ["1"])
        source = self.data / "huge-config.json"
        done = service.regroup("plan", self.write_job(self.job_on(source)), "--remote", patience_s=AT_ONCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("config.json", done.stderr)
        self.assertIn(str(most_bytes_of("config.json")), done.stderr)

    def test_data_without_line_ends_is_refused_at_once(self):
        service = self.start_cluster(workers=1)
        data = self.data / "endless.jsonl"
        self.make_sparse(data)
        self.fail_on(service, self.job_with_data("calibration", data), "calibration.data", "endless.jsonl:1",
                     str(16 << 20))


if __name__ == "__main__":
    unittest.main()
