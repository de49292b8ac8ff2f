#!/usr/bin/env python3
"""Jobs that used to fail after all of their work, or that ended well without a result."""

import json
import re
import resource
import shutil
import struct
import unittest

from harness import cluster, job_file, places
from harness.program_test import ProgramTest, digest_of

JOB_FAILED = 1


class LateFailuresTest(ProgramTest):
    def run_alone(self, job, *arguments, **settings):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work", *arguments,
                                   **settings)

    def succeed(self, job):
        done = self.run_alone(job)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def report(self):
        return json.loads((self.output / "regroup" / "report.json").read_text())

    def test_an_output_with_a_slash_at_its_end(self):
        for end in ("/", "//", "/."):
            with self.subTest(end):
                self.succeed(job_file.aligned_only(f"{self.output}{end}"))
                self.assertEqual([path.name for path in self.results.iterdir()], ["model"])
                self.assertTrue((self.output / "model.safetensors").exists())
                shutil.rmtree(self.output)

    def plain_average(self, **changes):
        job = job_file.small_job(self.output, alignment={"method": "none", "compare": "none"},
                                 finetune={"method": "none"}, evaluation=job_file.evaluation(), **changes)
        del job["calibration"]
        return job

    def test_plain_averages_without_calibration_text(self):
        self.succeed(self.plain_average())
        report = self.report()
        self.assertIsNone(report["layers"][0]["residual_key"])
        self.assertIsNone(report["layers"][0]["similarity_before"])
        self.assertGreater(report["result"]["perplexity"], report["source"]["perplexity"])
        without = digest_of(self.output / "model.safetensors")
        shutil.rmtree(self.output)
        job = self.plain_average()
        job["calibration"] = {"data": str(places.TRAINING_TEXT), "sequences": 8, "sequence_length": 64}
        self.succeed(job)
        self.assertEqual(digest_of(self.output / "model.safetensors"), without)
        self.assertIsNotNone(self.report()["layers"][0]["residual_key"])

    def test_weights_that_are_not_finite(self):
        source = shutil.copytree(places.MODEL, self.folder / "source")
        file = source / "model.safetensors"
        content = bytearray(file.read_bytes())
        header_bytes, = struct.unpack("<Q", content[:8])
        tensors = json.loads(content[8:8 + header_bytes])
        begin = tensors["model.layers.0.mlp.down_proj.weight"]["data_offsets"][0]
        # The same bytes are NaN in float32, and in the two halves of bfloat16 and float16.
        content[8 + header_bytes + begin:8 + header_bytes + begin + 4] = b"\xff\x7f\xff\x7f"
        file.write_bytes(content)
        done = self.run_alone(self.plain_average(source={"checkpoint": str(source)}))
        self.assertEqual(done.returncode, JOB_FAILED, done.stdout)
        self.assertRegex(done.stdout, "the source's loss on a window of evaluation.perplexity is not finite; check its "
                                      "weights")
        self.assertFalse(self.output.exists())

    def test_a_sweep_of_plain_averages_without_calibration_text(self):
        job = self.plain_average(sweep={"kv_heads": [4, 2]})
        done = self.succeed(job)
        self.assertNotIn("null", done.stdout)
        pages = list((self.folder / "work").glob("jobs/*/report/*/out/report.html"))
        self.assertEqual(len(pages), 1)
        self.assertIn("Residual of each layer", pages[0].read_text())

    def test_training_after_plain_averages_without_calibration_text(self):
        job = self.plain_average()
        job["finetune"] = job_file.small_job(self.output)["finetune"] | {"data": str(places.TRAINING_TEXT)}
        self.succeed(job)

    def test_a_folder_that_claims_to_be_the_result(self):
        service = self.start_cluster(workers=1)
        name = service.submit(self.write_job(job_file.aligned_only(self.output)))
        service.wait_for_trainers("calibrate")
        (self.output / "regroup").mkdir(parents=True)
        (self.output / "regroup" / "report.json").write_text(json.dumps({"version": 1, "job": name}))
        done = service.wait_for_end(name)
        self.assertEqual(done["state"], "JOB_STATE_FAILED", done)
        self.assertRegex(done["failure"]["message"], "output.checkpoint.*" + re.escape(str(self.output)))
        self.assertEqual(done["failure"]["failure_class"], "FAILURE_CLASS_USER")

    def test_a_training_that_runs_out_of_memory(self):
        """The address space of all programs has 2 GiB, which a small job needs half of, and the job 3.6 GiB."""
        limit = 2 << 30
        training = {"steps": 1, "batch_sequences": 192, "micro_batch_sequences": 192, "sequence_length": 256, "ranks": 1,
                    "checkpoint_every_steps": 1}
        job = job_file.small_job(self.output, finetune=training)
        done = self.run_alone(job, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, JOB_FAILED, text)
        self.assertRegex(text, "finetune, [a-z ]+: out of memory: [0-9]+ bytes more were asked for")
        self.assertIn("finetune.micro_batch_sequences", text)
        self.assertNotIn("bug in Regroup", text)
        self.assert_nothing_published()

    def test_an_expression_of_the_tokenizer_that_gives_up(self):
        source = shutil.copytree(places.MODEL, self.folder / "source")
        tokenizer = json.loads((source / "tokenizer.json").read_text())
        split = {"type": "Split", "pattern": {"Regex": "(x+x+)+[yz]"}, "behavior": "Isolated", "invert": False}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, tokenizer["pre_tokenizer"]]}
        (source / "tokenizer.json").write_text(json.dumps(tokenizer))
        data = self.folder / "x.jsonl"
        data.write_text(json.dumps({"text": "x" * 60}) + "\n" + places.TRAINING_TEXT.read_text())
        service = self.start_cluster(workers=1)
        job = job_file.aligned_only(self.output, source={"checkpoint": str(source)}, calibration={"data": str(data)})
        done = service.wait_for_end(service.submit(self.write_job(job)))
        self.assertEqual(done["failure"]["failure_class"], "FAILURE_CLASS_DATA", done)
        self.assertIn(f"{source}/tokenizer.json", done["failure"]["message"])
        self.assertIn("10000000 steps", done["failure"]["message"])
        inspect = next(task for task in done["tasks"] if task["name"].endswith("/inspect"))
        self.assertEqual(inspect["epoch"], "1", "the same text would fail again")


if __name__ == "__main__":
    unittest.main()
