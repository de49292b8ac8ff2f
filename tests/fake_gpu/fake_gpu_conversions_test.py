#!/usr/bin/env python3
"""Whole conversions with `device: cuda` on pretended GPUs: families (all of them at night), every way of training, several
ranks, and what goes wrong there. For every way of training the figures must be those of the same job on the CPU, since the
same kernels compute them."""

import json
import os
import pathlib
import signal
import sys
import unittest
from unittest import mock

from pretended import GPUS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))

from harness import cluster, job_file, processes  # noqa: E402
from harness.program_test import ProgramTest, digest_of  # noqa: E402

import torch  # noqa: E402
import transformers  # noqa: E402

from tiny_checkpoints import texts_of, train_tokenizer, write_text  # noqa: E402
from tiny_families import CASES, make_family_checkpoint  # noqa: E402

# Largest relative difference of a perplexity. A GPU evaluates in bfloat16, the type of the model, and its attention is
# not the fused one of the CPU. In `l0` the first gradients are rounding errors, because the student starts as the
# teacher, and Adam makes steps of full size of them.
SAME, SAME_WITH_GATES = 2e-3, 5e-2
# The same of a loss.
SAME_IN_BFLOAT16 = 5e-3

# name: keys of finetune, on the demonstration's model
TRAININGS = {
    "direct": {"method": "direct", "batch_sequences": 4, "teacher": "cache"},
    "sharded": {"method": "direct", "batch_sequences": 4, "shard": "gradients"},
    "l0": {"method": "l0", "batch_sequences": 4},
    "l0-sharded": {"method": "l0", "batch_sequences": 4, "shard": "gradients"},
    "all": {"method": "direct", "batch_sequences": 4, "shard": "all"},
    "l0-all": {"method": "l0", "batch_sequences": 4, "shard": "all"},
    "lora-all": {"method": "direct", "train": "lora", "lora_rank": 4, "shard": "all"},
    "lora": {"method": "direct", "train": "lora", "lora_rank": 4},
    "lora-l0": {"method": "l0", "train": "lora", "lora_rank": 4},
    "attention": {"method": "direct", "train": "attention", "recompute": "block", "across_documents": False},
    "feed-forward": {"method": "direct", "recompute": "feed_forward", "attention_weight": 0.1},
}
# Trainings that differ from another one only in what the ranks keep, which changes no figure.
ON_CPU = {"sharded": "direct", "all": "direct", "l0-sharded": "l0", "l0-all": "l0", "lora-all": "lora"}


# Families in whose computation every operator of trainer/nn occurs; the others run at night.
SHORT_CASES = ("llama", "mistral", "qwen2_moe", "gemma2", "gemma3", "olmo", "olmo3", "cohere2", "stablelm-parallel",
               "phi3-longrope", "gpt2", "bloom", "t5-gated")  # fmt: skip


class CheckedFakeGpuTest(ProgramTest):
    def test_a_worker_has_checked_its_gpus(self):
        started = self.start_cluster(workers=1, slots=GPUS, device="cuda")
        processes.wait_until(lambda: started.json_of("workers").get("workers"), "the registration", 60)
        lines = (self.folder / "worker-1.log").read_text().splitlines()
        found = json.loads(next(line for line in map(json.loads, lines) if line["message"] == "checked this machine")["figures"])
        self.assertEqual((found["ranks"], found["device"]), (GPUS, "cuda"))


class FakeGpuConversionsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1, slots=GPUS, device="cuda", worker_arguments=("--self-check", "never"))

    def submit(self, name, **changes):
        """Returns the id of a conversion, which runs beside the others."""
        return self.cluster.submit(self.write_job(job_file.small_job(self.results / name, name=name, **changes), f"{name}.yaml"))

    def report_of(self, name, job):
        """Returns the report of a conversion that must succeed."""
        self.assert_succeeded(self.cluster.wait_for_end(job, 600))
        return json.loads((self.results / name / "regroup/report.json").read_text())

    def assert_same(self, on_gpu, on_cpu, tolerance):
        for subject in ("source", "result"):
            ours, theirs = on_gpu[subject]["perplexity"], on_cpu[subject]["perplexity"]
            self.assertLess(abs(ours - theirs) / theirs, tolerance, f"{subject}: {ours} and {theirs}")

    def test_every_family(self):
        texts = self.folder / "texts.jsonl"
        write_text(texts, 300, seed=1)
        text = {"data": str(texts), "sequence_length": 32}
        jobs = {}
        for case in CASES if "REGROUP_NIGHTLY" in os.environ else SHORT_CASES:
            source = make_family_checkpoint(str(self.folder), case, texts_of(texts))
            evaluation = {"perplexity": {**text, "max_windows": 4}}
            if not case.startswith("t5"):
                evaluation["latency"] = {"batch_sizes": [2], "context_lengths": [24], "new_tokens": 3}
            name = case.replace("_", "-")
            jobs[name] = self.submit(
                name, recipe="best", source={"checkpoint": source}, resources={"device": "cuda"}, target={"kv_heads": 4},
                calibration={"sequences": 6, **text}, alignment={"method": "principal"},
                layerwise={"method": "distill", "sequences": 20, **text},
                finetune={"method": "direct", "steps": 2, **text}, evaluation=evaluation)
        for name, job in jobs.items():
            with self.subTest(name):
                self.report_of(name, job)

    def test_every_training(self):
        jobs = {}
        for name, training in TRAININGS.items():
            for device in ("cpu", "cuda") if name not in ON_CPU else ("cuda",):
                jobs[f"{name}-{device}"] = self.submit(f"{name}-{device}", resources={"device": device}, finetune=training,
                                                       evaluation=job_file.evaluation())
        for name, training in TRAININGS.items():
            with self.subTest(name):
                on_gpu, on_cpu = (self.report_of(one, jobs[one]) for one in (f"{name}-cuda", f"{ON_CPU.get(name, name)}-cpu"))
                self.assert_same(on_gpu, on_cpu, SAME_WITH_GATES if training["method"] == "l0" else SAME)

    def losses(self, started, name, **training):
        """Returns the losses of four steps in bfloat16, and the log."""
        job = started.submit(self.write_job(job_file.small_job(
            self.results / name, name=name, resources={"device": "cuda"},
            finetune={"method": "direct", "steps": 4, "batch_sequences": 4, "across_documents": False, "sequence_length": 128,
                      "precision": "bfloat16", "ranks": 1, **training}), f"{name}.yaml"))
        self.assert_succeeded(started.wait_for_end(job))
        return [loss for _, _, loss in started.metric(job, "loss")], started.regroup("logs", job, "--task", "finetune").stdout

    def apart(self, one, other):
        return max(abs(a - b) / b for a, b in zip(one, other, strict=True))

    def test_documents_by_the_flash_kernel_and_by_masks(self):
        by_kernel, log = self.losses(self.cluster, "kernel")
        self.assertIn("attention within documents and windows uses the flash kernel", log)
        shared, _ = self.losses(self.cluster, "shared", shard="all", ranks=2)
        recomputed, _ = self.losses(self.cluster, "recomputed", recompute="block", teacher="cache")
        across, _ = self.losses(self.cluster, "across", across_documents=True)
        for wrong in ("starts", "window", "gradient") if "REGROUP_NIGHTLY" in os.environ else ("gradient",):
            folder = self.folder / wrong
            folder.mkdir()
            with mock.patch.dict(os.environ, TORCH_FAKE_GPU_WRONG_FLASH=wrong):
                started = cluster.Cluster(folder, workers=1, slots=1, device="cuda", worker_arguments=("--self-check", "never"))
            self.addCleanup(started.stop)
            by_mask, log = self.losses(started, wrong)
            self.assertIn("uses dense masks on this GPU", log)
            self.assertIn("the flash kernel gives other results", log)
            for name, losses in {"kernel": by_kernel, "shared": shared, "recomputed": recomputed}.items():
                self.assertLess(self.apart(losses, by_mask), SAME_IN_BFLOAT16, name)
        print(f"across documents {self.apart(across, by_mask):.1e}, the kernel {self.apart(by_kernel, by_mask):.1e} from masks")
        self.assertGreater(self.apart(across, by_mask), 5 * SAME_IN_BFLOAT16)

    def test_four_ranks_of_which_one_is_killed(self):
        training = {"method": "direct", "batch_sequences": 4, "ranks": 4}
        self.report_of("undisturbed", self.submit("undisturbed", resources={"device": "cuda"}, finetune=training))
        job = self.cluster.submit(self.write_job(job_file.small_job(
            self.results / "killed", resources={"device": "cuda"}, finetune=training), "killed.yaml"))
        with self.cluster.held_at_checkpoint(job, 4, ranks=4) as ranks:
            processes.signal_if_alive(ranks[2].pid, signal.SIGKILL)
        job = self.cluster.wait_for_end(job)
        self.assert_succeeded(job)
        self.assertEqual(cluster.epochs(job)["finetune"], 2)
        digests = [digest_of(self.results / name / "model.safetensors") for name in ("undisturbed", "killed")]
        self.assertEqual(*digests)


class RefusedFakeGpuTest(ProgramTest):
    """A worker whose GPUs fail its check takes no task."""

    def refusal(self, **environment):
        with mock.patch.dict(os.environ, environment):
            started = self.start_cluster(workers=1, slots=2, device="cuda")
        self.assertEqual(started.workers["worker-1"].wait(timeout=120), 1)
        return (self.folder / "worker-1.log").read_text()

    def test_a_rank_that_cannot_join(self):
        self.assertIn("failed its check: rank 1: ncclCommInitRank: unhandled cuda error",
                      self.refusal(TORCH_FAKE_GPU_JOIN_FAILS="1"))

    def test_a_gpu_whose_memory_another_program_holds(self):
        self.assertRegex(self.refusal(TORCH_FAKE_GPU_TAKEN_BYTES=str(30 << 30)),
                         r"failed its check: rank [01]: GPU [01] has 80\.0 GiB, of which other programs hold 30\.0 GiB")


class FailingFakeGpuTest(ProgramTest):
    """Every attempt meets the same fault, so that the job fails once the retries are used up."""

    def failure(self, job, **environment):
        with mock.patch.dict(os.environ, environment):
            started = self.start_cluster(workers=1, slots=2, device="cuda", worker_arguments=("--self-check", "never"))
        failed = started.wait_for_end(started.submit(self.write_job(job)))
        self.assertEqual(failed["state"], "JOB_STATE_FAILED")
        self.assert_no_process_of()
        self.assert_nothing_published()
        return failed["failure"]

    def job(self, **changes):
        return job_file.small_job(self.output, resources={"device": "cuda"}, **changes)

    def test_a_rank_that_cannot_join(self):
        failure = self.failure(self.job(), TORCH_FAKE_GPU_JOIN_FAILS="1")
        self.assertIn("finetune failed", failure["message"])
        self.assertIn("ncclCommInitRank: unhandled cuda error", failure["message"])
        self.assertEqual(failure["failure_class"], "FAILURE_CLASS_INFRA")

    def test_a_gpu_that_is_too_small(self):
        failure = self.failure(self.job(), TORCH_FAKE_GPU_BYTES=str(1 << 30))
        self.assertRegex(failure["message"], r"finetune: a rank needs 1\.\d GiB of its GPU, which has 1\.0 GiB; to reduce memory")
        self.assertEqual(failure["failure_class"], "FAILURE_CLASS_USER")

    def test_a_gpu_whose_memory_another_program_holds(self):
        failure = self.failure(self.job(finetune={"batch_sequences": 64, "micro_batch_sequences": 32}),
                               TORCH_FAKE_GPU_TAKEN_BYTES=str((80 << 30) - (24 << 20)))
        self.assertIn("finetune", failure["message"])
        self.assertRegex(failure["message"], "out of memory: .* were asked for")
        self.assertIn("finetune.micro_batch_sequences", failure["message"])
        self.assertEqual(failure["failure_class"], "FAILURE_CLASS_INFRA")


class FakeGpuMemoryTest(ProgramTest):
    """Compares what each stage holds on a GPU with `regroup plan`."""

    # Several buckets of gradients, which have 13 million entries each.
    LARGE = {"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 8,
             "intermediate_size": 2064, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 1}

    def setUp(self):
        super().setUp()
        texts = self.folder / "texts.jsonl"
        write_text(texts, 300, seed=1)
        self.text = {"data": str(texts), "sequence_length": 64}
        self.source = str(self.folder / "source")
        os.makedirs(self.source)
        vocabulary = train_tokenizer(self.source, texts_of(texts), begin=False)
        config = transformers.LlamaConfig(vocab_size=vocabulary, **self.LARGE)
        transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(self.source)
        self.peaks = self.folder / "peaks"
        with mock.patch.dict(os.environ, TORCH_FAKE_GPU_PEAK_FILE=str(self.peaks)):
            self.cluster = self.start_cluster(workers=1, slots=2, device="cuda")

    def measured(self, stage):
        """Returns the most bytes that any rank of the stage's tasks held."""
        peaks = [line.split() for line in self.peaks.read_text().splitlines()]
        return max(int(bytes_) for attempt, _, bytes_ in peaks if f"/{stage}" in attempt)

    def compare(self, name, stages, **changes):
        """Compares these stages of a job. A second job finds statistics and streams of the first."""
        job = self.write_job(job_file.small_job(
            self.results / name, name=name, source={"checkpoint": self.source}, resources={"device": "cuda"},
            calibration={"sequences": 40, **self.text}, recipe="best", alignment={"method": "principal"},
            layerwise={"method": "distill", "sequences": 40, **self.text},
            finetune={"method": "direct", "steps": 2, "batch_sequences": 16, "micro_batch_sequences": 4,
                      "precision": "bfloat16", **self.text, **changes},
            evaluation={"perplexity": {**self.text, "max_windows": 16},
                        "latency": {"batch_sizes": [2], "context_lengths": [48], "new_tokens": 4}}), f"{name}.yaml")
        self.peaks.write_text("")
        self.assert_succeeded(self.cluster.wait_for_end(self.cluster.submit(job)))
        planned = json.loads(cluster.run_regroup("plan", job, "--gpu-memory-gib", "1", "--json").stdout)
        for stage in stages:
            held, bytes_ = self.measured(stage), planned["gpu_memory_bytes_of_stages"][stage]
            print(f"{name} {stage}: {held / 1e6:.1f} MB held, {bytes_ / 1e6:.1f} MB planned")
            with self.subTest(f"{stage}, {name}"):
                self.assertLess(held, 1.15 * bytes_)
                self.assertGreater(held, 0.85 * bytes_)

    def test_stages_hold_what_is_planned(self):
        self.compare("optimizer", ("calibrate", "evaluate", "layerwise", "finetune"), shard="optimizer")
        if "REGROUP_NIGHTLY" in os.environ:
            self.compare("gradients", ("evaluate", "finetune"), shard="gradients")
        self.compare("all", ("finetune",), shard="all")


if __name__ == "__main__":
    unittest.main(verbosity=2)
