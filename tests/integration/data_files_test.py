#!/usr/bin/env python3
"""Data files as people have them: every documented form gives a job that ends well, any other form one clear sentence."""

import codecs
import gzip
import json
import re
import struct
import unittest

from harness import cluster, job_file, json_schema, places
from harness.data_file import write_lines, write_parquet
from harness.program_test import ProgramTest, digest_of

JOB_FAILED = 1


class DataTest(ProgramTest):
    def run_alone(self, job):
        return cluster.run_regroup("run", self.write_job(job), "--work-dir", self.folder / "work")

    def succeed(self, job):
        done = self.run_alone(job)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def refuse(self, job, *fragments):
        """Runs the job; `inspect` must refuse it with one line that holds all fragments."""
        done = self.run_alone(job)
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, JOB_FAILED, text)
        lines = [line for line in text.splitlines() if all(fragment in line for fragment in fragments)]
        self.assertTrue(lines, f"no line says {fragments}:\n{text}")
        self.assertIn("failed in inspect", text)
        self.assert_nothing_published()
        return text


class AnswersTest(DataTest):
    def job_on(self, data, **changes):
        return job_file.small_job(self.output, finetune={"method": "direct", "loss": "bild", "data": str(data),
                                                         "sequence_length": 64, "steps": 4, **changes})

    def answers(self):
        return write_lines(self.folder / "answers.jsonl",
                           [{"prompt": f"Question {i}: ", "completion": f"the answer is {i}."} for i in range(64)])

    def test_prompts_and_completions(self):
        self.succeed(self.job_on(self.answers()))
        self.assertTrue((self.output / "model.safetensors").exists())

    def test_layers_learn_from_the_calibration_text(self):
        job = self.job_on(self.answers())
        job["layerwise"] = {"method": "distill", "sequences": 32, "sequence_length": 64, "passes": 1}
        self.succeed(job)

    def test_texts_where_answers_are_asked_for(self):
        self.refuse(self.job_on(places.TRAINING_TEXT), "finetune.data", f"{places.TRAINING_TEXT}:1", "\"completion\"")

    def test_answers_where_texts_are_asked_for(self):
        data = self.answers()
        self.refuse(self.job_on(data, loss="kl"), "finetune.data", f"{data}:1", "finetune.loss: bild")


def zstandard(content):
    """Returns a frame whose blocks are not compressed, with a window of 128 KiB."""
    size = 1 << 17
    blocks = [content[begin:begin + size] for begin in range(0, len(content), size)] or [b""]
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([7 << 3])
    for block in blocks:
        frame += struct.pack("<I", len(block) << 3 | (block is blocks[-1]))[:3] + block
    return frame


class FormsTest(DataTest):
    def setUp(self):
        super().setUp()
        lines = places.TRAINING_TEXT.read_bytes().splitlines(keepends=True)[:120]
        self.parts = [b"".join(lines[begin:begin + 40]) for begin in (0, 40, 80)]
        self.whole = self.folder / "whole.jsonl"
        self.whole.write_bytes(b"".join(self.parts))

    def aligned(self, name, data, **changes):
        """Returns the digest of the result of a job that merges heads by all of this text."""
        job = job_file.small_job(self.results / name, name=name, finetune={"method": "none"},
                                 calibration={"data": data, "sequences": 300, "sequence_length": 64, **changes})
        self.succeed(job)
        return digest_of(self.results / name / "model.safetensors")

    def test_the_result_depends_on_the_text_and_not_on_its_files(self):
        texts = self.folder / "texts"
        texts.mkdir()
        (texts / "0.jsonl").write_bytes(self.parts[0])
        (texts / "1.jsonl.gz").write_bytes(gzip.compress(self.parts[1]))
        lines = self.parts[2].splitlines(keepends=True)
        (texts / "2.jsonl.zst").write_bytes(zstandard(b"".join(lines[:20])))
        write_parquet(texts / "3.parquet", b"".join(lines[20:]))
        (texts / "README.md").write_text("Four files of text.\n")
        bodies = write_lines(self.folder / "bodies.jsonl",
                             [{"text": "not this", "body": json.loads(line)["text"]}
                              for line in self.whole.read_text().splitlines()])
        expected = self.aligned("whole", str(self.whole))
        self.assertEqual(expected, self.aligned("folder", str(texts)))
        self.assertEqual(expected, self.aligned("pattern", str(texts / "[0-9].*")))
        self.assertEqual(expected, self.aligned("list", [str(texts / "0.jsonl"), str(texts / "[123]*")]))
        self.assertEqual(expected, self.aligned("field", str(bodies), field="body"))
        other = self.aligned("other-order", [str(texts / "[123]*"), str(texts / "0.jsonl")])
        self.assertNotEqual(expected, other)

    def test_statistics_and_streams_serve_later_jobs_whatever_tokens_were_stored_meanwhile(self):
        layerwise = {"method": "distill", "sequences": 8, "sequence_length": 64, "passes": 1}
        text = str(places.TRAINING_TEXT)  # so long that the first job does not tokenise all of it
        self.aligned("few", text, sequences=8)
        kept = {"statistics": 1, "streams": 0}
        for name, changes in (("trained", {"finetune": {"method": "direct", "data": text, "steps": 2}}),
                              ("after", {"finetune": {"method": "none"}})):
            self.succeed(job_file.small_job(
                self.results / name, name=name, layerwise=layerwise,
                calibration={"data": text, "sequences": 8, "sequence_length": 64}, **changes))
            kept["streams"] = 1
            for folder, count in kept.items():
                self.assertEqual(len(list((self.folder / "work" / folder).iterdir())), count, (name, folder))

    def test_every_stage_reads_all_forms(self):
        texts = self.folder / "texts"
        texts.mkdir()
        for name, part in zip("abc", self.parts):
            (texts / f"{name}.jsonl.gz").write_bytes(gzip.compress(part))
        job = job_file.small_job(
            self.output, calibration={"data": [str(texts / "a*"), str(texts / "b*")], "sequences": 8,
                                      "sequence_length": 64},
            finetune={"method": "direct", "data": str(texts), "steps": 4},
            layerwise={"method": "distill", "data": str(texts / "*"), "sequences": 32, "sequence_length": 64,
                       "passes": 1},
            evaluation={"perplexity": {"data": [str(texts)], "sequence_length": 64, "max_windows": 8}})
        self.succeed(job)
        report = json.loads((self.output / "regroup" / "report.json").read_text())
        self.assertEqual(sorted(report["provenance"]["data_digests"]),
                         sorted([str(texts), *(str(texts / name) for name in ("*", "a*", "b*"))]))
        self.assertNotIn("warnings", report)


class FewerSequencesTest(DataTest):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.jsonl"
        self.text.write_bytes(b"".join(places.TRAINING_TEXT.read_bytes().splitlines(keepends=True)[:40]))

    def job_for(self, sequences, **changes):
        return job_file.aligned_only(self.output, calibration={"data": str(self.text), "sequences": sequences,
                                                               "sequence_length": 64}, **changes)

    def sequences_there(self):
        done = self.run_alone(self.job_for(1 << 20))
        self.assertEqual(done.returncode, JOB_FAILED)
        self.assertIn("failed in calibrate", done.stdout)
        found = re.search(f"calibration.sequences: the job asks for {1 << 20} sequences of 64 tokens, and "
                          f"{re.escape(str(self.text))} has ([0-9]+), fewer than a half", done.stdout)
        self.assertTrue(found, done.stdout)
        return int(found.group(1))

    def test_fewer_are_a_warning_and_fewer_than_half_an_error(self):
        there = self.sequences_there()
        self.assertEqual(self.run_alone(self.job_for(2 * there + 1)).returncode, JOB_FAILED)
        self.assert_nothing_published()
        output = self.succeed(self.job_for(2 * there))
        warning = (f"calibration.sequences: the job asks for {2 * there} sequences of 64 tokens, and {self.text} has "
                   f"{there}")
        self.assertIn(f"warning: {warning}\n", output)
        report = json.loads((self.output / "regroup" / "report.json").read_text())
        self.assertEqual(report["warnings"], [warning])
        schema = json.loads((places.REPOSITORY / "trainer/report/report.schema.json").read_text())
        self.assertEqual(json_schema.errors(report, schema), [])
        self.assertIn(warning, (self.output / "regroup" / "report.html").read_text())
        logs = "".join(log.read_text(errors="replace") for log in (self.folder / "work").rglob("*") if log.is_file()
                       and "calibrate" in str(log) and log.stat().st_size < 1 << 20)
        self.assertIn(warning, logs)

    def test_enough_are_no_warning(self):
        there = self.sequences_there()
        self.assertNotIn("warning", self.succeed(self.job_for(there)))

    def test_empty_texts(self):
        self.text.write_text("{\"text\": \"\"}\n" * 5000)
        self.refuse(self.job_for(8), f"calibration.data: {self.text}: all", "texts that were read are empty")


class TrainingTextTest(DataTest):
    """Training reads its text last, so that `inspect` must have read it."""

    def job_on(self, data, **changes):
        return job_file.small_job(self.output, finetune={"method": "direct", "data": str(data), **changes})

    def test_a_line_in_the_middle(self):
        lines = places.TRAINING_TEXT.read_bytes().splitlines(keepends=True)
        data = self.folder / "text.jsonl"
        for bad, fragment in ((b"{\"text\": NaN}\n", "NaN"), (b"{\"body\": \"a\"}\n", "\"text\" is missing")):
            with self.subTest(fragment):
                data.write_bytes(b"".join([*lines[:1000], bad, *lines[1000:]]))
                self.refuse(self.job_on(data), "finetune.data", f"{data}:1001: ", fragment)
        data.write_bytes(gzip.compress(b"".join(lines))[:-8])
        self.refuse(self.job_on(data), "finetune.data", str(data), "truncated")

    def test_a_line_in_the_middle_of_answers(self):
        answers = [{"prompt": f"Question {i}: ", "completion": f"the answer is {i}."} for i in range(64)]
        data = write_lines(self.folder / "answers.jsonl", [*answers, {"prompt": "a"}, *answers])
        self.refuse(self.job_on(data, loss="bild"), "finetune.data", f"{data}:65: ", "\"completion\"")

    def test_fewer_tokens_than_a_sequence(self):
        data = write_lines(self.folder / "text.jsonl", [{"text": "A short text."}])
        self.refuse(self.job_on(data), "finetune.data", str(data), "fewer than one sequence of 32")


class OtherKindsTest(DataTest):
    def refuse_content(self, content, *fragments):
        """A job whose calibration text has this content is refused by inspect with the fragments in one line."""
        data = self.folder / "text.jsonl"
        data.write_bytes(content)
        self.refuse(job_file.aligned_only(self.output, calibration={"data": str(data)}), "calibration.data", str(data),
                    *fragments)

    def test_each_has_its_own_sentence(self):
        line = b"{\"text\": \"a text\"}\n"
        packed = gzip.compress(line * 1000)
        for content, fragments in (
                (b"PAR1\x15\x04" + bytes(100) + b"PAR1", ["cannot be read as Parquet"]),
                (b"PARE" + bytes(100) + b"PARE", ["an encrypted Parquet file"]),
                (codecs.BOM_UTF16_LE + line.decode().encode("utf-16-le"), ["UTF-16", "iconv"]),
                (line.decode().encode("utf-16-be"), ["UTF-16", "iconv"]),
                (packed[:-20], ["gzip", "truncated"]),
                (packed[:20] + b"\xff" * 20 + packed[40:], ["gzip", "damaged"]),
                (zstandard(line)[:-3], ["Zstandard", "truncated"]),
                (b"{\"text\": \"a\", \"score\": NaN}\n", [":1:", "NaN"]),
                (b"{\"text\": \"\\ud83d\"}\n", [":1:", "surrogate"]),
                (b"{\"text\": \"a\", \"score\": 1e999}\n", [":1:", "too large"]),
                ("{\"text\": \"caf\u00e9\"}\n".encode("latin-1"), [":1:", "UTF-8"]),
                (b"[" + line.strip() + b"]", ["one list", "jq"]),
                (b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS", "git lfs pull"]),
                (b"{\"body\": \"a\"}\n", [":1:", "\"text\" is missing", "\"body\"", "`field`"]),
                (b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n",
                 [":1:", "conversation", "has no chat template"])):
            with self.subTest(fragments):
                self.refuse_content(content, *fragments)

    def test_names_that_stand_for_no_file(self):
        (self.folder / "empty").mkdir()
        for name, fragment in (("empty", "folder without a file named *.jsonl"), ("*.txt", "no file fits the pattern"),
                               ("absent.jsonl", "No such file")):
            with self.subTest(name):
                self.refuse(job_file.aligned_only(self.output, calibration={"data": str(self.folder / name)}),
                            "calibration.data", name, fragment)


if __name__ == "__main__":
    unittest.main()
