#!/usr/bin/env python3
"""Changes files while a job runs. What was inspected is what is used, and what a task wrote is what the next one reads:
a job that meets other bytes fails with the file's name and publishes nothing, and no later job gets wrong results.
"""

import pathlib
import shutil
import subprocess
import unittest

from harness import job_file, places
from harness.cluster import run_regroup
from harness.program_test import ProgramTest, digest_of


def flip_bit(file, place=None):
    """Flips one bit, as a failing disk would; by default in the middle of the file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    # A new file under the old name: links to the old one stay as they are.
    file.unlink()
    file.write_bytes(content)


class ChangedFilesTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = self.folder / "source"
        shutil.copytree(places.MODEL, self.source)
        self.text = self.folder / "text.jsonl"
        shutil.copy(places.TRAINING_TEXT, self.text)
        # One slot, so that tasks follow one another.
        self.cluster = self.start_cluster(workers=1, slots=1)

    def submit(self, name, **changes):
        self.output = self.results / name
        return self.cluster.submit(self.write_job(job_file.small_job(
            self.output, name=name, source={"checkpoint": str(self.source)},
            calibration={"data": str(self.text), "sequences": 8, "sequence_length": 64},
            **{"finetune": {"ranks": 1, "steps": 4}, **changes})))

    def converted(self, name):
        done = self.cluster.wait_for_end(self.submit(name))
        self.assert_succeeded(done)
        return digest_of(self.output / "model.safetensors")

    def result_of(self, job, task, file):
        [found] = self.cluster.work.glob(f"jobs/{job}/{task}/1/out/{file}")
        return found

    def assert_fails_with(self, job, file):
        done = self.cluster.wait_for_end(job)
        self.assertEqual(done["state"], "JOB_STATE_FAILED", done)
        self.assertEqual(done["failure"]["failure_class"], "FAILURE_CLASS_DATA", done["failure"])
        self.assertIn(str(file), done["failure"]["message"])
        self.assertFalse(self.output.exists())

    def test_weights_that_change_after_inspect_poison_nothing(self):
        clean = self.folder / "clean"
        shutil.copytree(self.source, clean)
        job = self.submit("swapped")
        with self.cluster.held_after(job, "inspect"):
            flip_bit(self.source / "model.safetensors")
        self.assert_fails_with(job, self.source / "model.safetensors")
        shutil.rmtree(self.source)
        shutil.copytree(clean, self.source)
        after = self.converted("after")
        shutil.rmtree(self.cluster.work / "statistics")
        self.assertEqual(after, self.converted("without-statistics-of-others"))

    def test_weights_of_torch_that_change_after_inspect_poison_nothing(self):
        program = ("import sys, safetensors.torch, torch; "
                   "torch.save(safetensors.torch.load_file(sys.argv[1]), sys.argv[2])")
        weights = self.source / "pytorch_model.bin"
        subprocess.run([places.REPOSITORY / "build/venv/bin/python", "-c", program, self.source / "model.safetensors",
                        weights], check=True)
        (self.source / "model.safetensors").unlink()
        job = self.submit("swapped")
        with self.cluster.held_after(job, "inspect"):
            flip_bit(weights)
        self.assert_fails_with(job, weights)

    def test_text_that_changes_after_inspect_poisons_nothing(self):
        clean = self.text.read_bytes()
        job = self.submit("swapped")
        with self.cluster.held_after(job, "inspect"):
            self.text.write_bytes(clean[len(clean) // 2:])
        self.assert_fails_with(job, self.text)
        self.text.write_bytes(clean)
        after = self.converted("after")
        shutil.rmtree(self.cluster.work / "statistics")
        shutil.rmtree(self.cluster.work / "tokens")
        self.assertEqual(after, self.converted("without-statistics-of-others"))

    def test_a_file_that_comes_to_a_folder_or_leaves_it_after_inspect(self):
        folder = self.folder / "texts"
        folder.mkdir()
        for name in ("a.jsonl", "b.jsonl"):
            shutil.copy(self.text, folder / name)
        for name, data, change in (("comes", folder, lambda: shutil.copy(self.text, folder / "c.jsonl")),
                                   ("leaves", folder / "*.jsonl", (folder / "b.jsonl").unlink)):
            with self.subTest(name=name, data=data):
                job = self.submit(name, finetune={"data": str(data), "ranks": 1, "steps": 4})
                with self.cluster.held_after(job, "inspect"):
                    change()
                self.assert_fails_with(job, data)

    def test_a_flipped_bit_in_any_tasks_results_is_never_published(self):
        for task, file in (("align-000", "alignment.safetensors"), ("finetune", "model/model.safetensors"),
                           ("export", "checkpoint/model.safetensors"), ("export", "checkpoint/config.json"),
                           ("evaluate-result", "evaluation.json")):
            with self.subTest(task=task, file=file):
                job = self.submit(f"{task}-{pathlib.Path(file).stem}", evaluation=job_file.evaluation(windows=2))
                with self.cluster.held_after(job, task):
                    damaged = self.result_of(job, task, file)
                    flip_bit(damaged)
                self.assert_fails_with(job, damaged)

    def test_a_flipped_bit_in_statistics_is_not_aligned_with_and_the_next_job_makes_them_again(self):
        job = self.submit("damaged")
        with self.cluster.held_after(job, "calibrate"):
            [statistics] = self.cluster.work.glob("statistics/*/layer-000.safetensors")
            intact = statistics.read_bytes()
            flip_bit(statistics)
        self.assert_fails_with(job, statistics)
        self.converted("next")
        self.assertEqual(statistics.read_bytes(), intact)

    def test_a_published_result_can_be_checked(self):
        self.converted("published")
        check = ["sha256sum", "--check", "--strict", "--quiet", "regroup/SHA256SUMS"]
        self.assertEqual(subprocess.run(check, cwd=self.output, check=False).returncode, 0)
        listed = {line.split("  ", 1)[1] for line in (self.output / "regroup/SHA256SUMS").read_text().splitlines()}
        there = {str(path.relative_to(self.output)) for path in self.output.rglob("*") if path.is_file()}
        self.assertEqual(listed, there - {"regroup/SHA256SUMS"})
        done = run_regroup("report", self.output, "--check")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, "every file that .*SHA256SUMS lists is as it was published")
        flip_bit(self.output / "model.safetensors")
        done = run_regroup("report", self.output, "--check")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("model.safetensors is damaged", done.stderr)
        (self.output / "regroup/SHA256SUMS").unlink()
        done = run_regroup("report", self.output / "regroup", "--check")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("SHA256SUMS does not exist", done.stderr)


if __name__ == "__main__":
    unittest.main()
