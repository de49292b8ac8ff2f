#!/usr/bin/env python3
"""Mistakes of users: each gives one clear error, the documented exit code, and no trace where the result would be."""

import json
import re
import shutil
import socket
import struct
import unittest

from harness import cluster, job_file, places, processes
from harness.program_test import ProgramTest

JOB_FAILED, REFUSED, UNAVAILABLE = 1, 2, 3


class BadInputTest(ProgramTest):
    def refuse(self, job, code, *fragments):
        """Runs the job; it must end with `code` and print all fragments in one line."""
        done = cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, code, text)
        lines = [line for line in text.splitlines() if all(fragment in line for fragment in fragments)]
        self.assertTrue(lines, f"no line says {fragments}:\n{text}")
        self.assert_nothing_published()
        self.assert_nothing_left()
        return text

    def refuse_damaged(self, source, *fragments):
        """Runs a job on a folder whose files are at fault, not the job."""
        self.assertIn("failed in inspect (data)", self.refuse(self.job_on(source), JOB_FAILED, *fragments))

    def copy_of_model(self):
        return shutil.copytree(places.MODEL, self.folder / "source")

    def job_on(self, source, **changes):
        return job_file.small_job(self.output, source={"checkpoint": str(source)}, **changes)

    def test_a_missing_source_folder(self):
        source = self.folder / "nowhere"
        self.refuse(self.job_on(source), JOB_FAILED, "source.checkpoint", str(source))

    def test_a_source_that_is_a_file(self):
        source = places.MODEL / "config.json"
        self.refuse(self.job_on(source), JOB_FAILED, "source.checkpoint", str(source))

    def test_a_truncated_tensor_file(self):
        source = self.copy_of_model()
        file = source / "model.safetensors"
        file.write_bytes(file.read_bytes()[:100000])
        self.refuse_damaged(source, "source.checkpoint", "model.safetensors", "truncated")

    def test_a_tensor_file_cut_inside_its_header(self):
        source = self.copy_of_model()
        file = source / "model.safetensors"
        file.write_bytes(file.read_bytes()[:100])
        self.refuse_damaged(source, "source.checkpoint", "model.safetensors")

    def test_an_empty_tensor_file(self):
        source = self.copy_of_model()
        (source / "model.safetensors").write_bytes(b"")
        self.refuse_damaged(source, "source.checkpoint", "model.safetensors")

    def test_no_tensor_file(self):
        source = self.copy_of_model()
        (source / "model.safetensors").unlink()
        self.refuse(self.job_on(source), JOB_FAILED, "source.checkpoint", str(source))

    def test_a_tensor_of_another_shape(self):
        source = self.copy_of_model()
        name = "model.layers.1.self_attn.v_proj.weight"
        give_shape(source / "model.safetensors", name, [128, 512])
        self.refuse_damaged(source, name, "[128, 512]", "[256, 256]")

    def test_a_missing_tensor(self):
        source = self.copy_of_model()
        name = "model.layers.2.self_attn.k_proj.weight"
        rename_tensor(source / "model.safetensors", name, "unknown")
        self.refuse_damaged(source, name)

    def test_a_configuration_that_is_no_json(self):
        source = self.copy_of_model()
        (source / "config.json").write_text('{"model_type": "llama",')
        self.refuse_damaged(source, "config.json")

    def test_a_family_that_is_not_supported(self):
        source = self.copy_of_model()
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
        self.refuse(self.job_on(source), JOB_FAILED, "mamba", "llama")

    def test_kv_heads_that_do_not_divide(self):
        for target in ({"kv_heads": 3}, {"kv_heads": 16}, {"kv_heads": 3, "per_layer": "auto"}):
            with self.subTest(target=target):
                self.refuse(job_file.small_job(self.output, target=target), JOB_FAILED, "target.kv_heads", "8, 4, 2, 1")

    def test_a_gpu_that_is_not_there(self):
        job = job_file.small_job(self.output, resources={"device": "cuda"})
        text = self.refuse(job, JOB_FAILED, "resources.device is cuda, but")
        self.assertIn("failed in inspect (invalid request)", text)

    def test_an_unknown_key(self):
        job = job_file.small_job(self.output, finetune={"stepz": 5})
        self.refuse(job, REFUSED, "job.yaml:", "stepz", "steps")

    def test_a_value_of_the_wrong_kind(self):
        job = job_file.small_job(self.output, finetune={"steps": "many"})
        self.refuse(job, REFUSED, "job.yaml:", "steps", "many")

    def test_a_job_file_that_does_not_exist(self):
        done = cluster.run_regroup("run", self.folder / "absent.yaml", "--work-dir", self.folder / "work")
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("absent.yaml", done.stderr)

    def test_an_output_that_exists(self):
        self.output.mkdir()
        (self.output / "precious").write_text("stays")
        job = self.write_job(job_file.small_job(self.output))
        done = cluster.run_regroup("run", job, "--work-dir", self.folder / "work")
        self.assertEqual(done.returncode, JOB_FAILED)
        self.assertRegex(done.stdout + done.stderr, "output.checkpoint.*" + re.escape(str(self.output)) + ".*exists")
        self.assertEqual([path.name for path in self.results.iterdir()], ["model"])
        self.assertEqual([path.name for path in self.output.iterdir()], ["precious"])

    def test_an_output_that_appears_while_the_job_runs(self):
        job = self.write_job(job_file.aligned_only(self.output))
        running = cluster.start_run(job, self.folder / "work", self.folder / "run.log")
        processes.wait_until(lambda: processes.trainers_of(self.folder, "calibrate"), "calibration")
        self.output.mkdir()
        self.assertEqual(running.wait(timeout=300), JOB_FAILED)
        self.assertRegex((self.folder / "run.log").read_text(), "output.checkpoint.*" + re.escape(str(self.output)))
        self.assertEqual([path.name for path in self.results.iterdir()], ["model"])
        self.assertEqual(list(self.output.iterdir()), [])

    def test_text_without_the_field_text(self):
        data = self.folder / "prompts.jsonl"
        data.write_text('{"text": "fine"}\n{"prompt": "no text"}\n')
        job = job_file.small_job(self.output, calibration={"data": str(data)}, finetune={"data": str(places.TRAINING_TEXT)})
        self.refuse(job, JOB_FAILED, "calibration.data", "prompts.jsonl", '"text"')

    def test_training_text_without_the_field_text(self):
        data = self.folder / "prompts.jsonl"
        data.write_text('{"prompt": "no text"}\n')
        self.refuse(job_file.small_job(self.output, finetune={"data": str(data)}), JOB_FAILED, "finetune.data",
                    "prompts.jsonl:1", '"text"')

    def test_text_that_is_too_short(self):
        data = self.folder / "short.jsonl"
        data.write_text('{"text": "Too short."}\n')
        job = job_file.small_job(self.output, calibration={"data": str(data)}, finetune={"data": str(places.TRAINING_TEXT)})
        self.refuse(job, JOB_FAILED, "calibration", "short.jsonl")

    def test_a_missing_data_file(self):
        job = job_file.small_job(self.output, calibration={"data": "/nowhere/train.jsonl"})
        self.refuse(job, JOB_FAILED, "calibration.data", "/nowhere/train.jsonl")

    def test_a_gang_that_never_fits(self):
        done = cluster.run_regroup("run", self.write_job(job_file.small_job(self.output)), "--slots", 1, "--work-dir",
                                   self.folder / "work")
        self.assertEqual(done.returncode, REFUSED)
        self.assertIn("--slots 2", done.stderr)

    def test_no_coordinator(self):
        done = cluster.run_regroup("list", coordinator=f"127.0.0.1:{free_port()}")
        self.assertEqual(done.returncode, UNAVAILABLE, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)


class PortTaken(ProgramTest):
    def start_on(self, **ports):
        listen, metrics = (f"127.0.0.1:{ports.get(name, 0)}" for name in ("listen", "metrics"))
        command = [places.PROGRAMS / "regroup-coordinator", "--work-dir", self.folder / "work", "--listen", listen,
                   "--metrics-listen", metrics, "--log-format", "text"]
        with open(self.folder / "coordinator.log", "wb") as log:
            return processes.start(command, stdout=log, stderr=log).wait(timeout=60)

    def log_lines(self):
        return (self.folder / "coordinator.log").read_text().splitlines()

    def test_by_another_program_is_named_in_one_line(self):
        for listener in ("listen", "metrics"):
            with self.subTest(listener), socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                port = taken.getsockname()[1]
                self.assertEqual(self.start_on(**{listener: port}), 1)
                errors = [line for line in self.log_lines() if " error " in line]
                self.assertEqual(len(errors), 1, errors)
                self.assertIn(f"127.0.0.1:{port}", errors[0])
        self.assert_nothing_left()


def change_header(file, change):
    """Rewrites the header of a safetensors file; the tensors' bytes stay."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length:])


def give_shape(file, tensor, shape):
    change_header(file, lambda header: header[tensor].update(shape=shape))


def rename_tensor(file, tensor, name):
    change_header(file, lambda header: header.update({name: header.pop(tensor)}))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    unittest.main(verbosity=2)
