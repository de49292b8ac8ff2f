"""`regroup plan` against what a real run then used: the memory of a rank that trains, within 15 %."""

import json
import os
import random
import shutil
import struct
import subprocess
import threading
import time
import unittest

from harness import job_file, places, processes
from harness.program_test import ProgramTest

TOLERANCE = 0.15
SHAPE = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64,
         "intermediate_size": 1408}  # fmt: skip


def tensor_shapes(config):
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name in "qkvo":
            yield f"{prefix}.self_attn.{name}_proj.weight", (hidden, hidden)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}.{name}.weight", (hidden,)
        yield f"{prefix}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{prefix}.mlp.up_proj.weight", (inner, hidden)
        yield f"{prefix}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def write_checkpoint(folder):
    """A random LLaMA of 30 million parameters with the demonstration's tokenizer."""
    shutil.copytree(places.MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors*", "config.json"))
    config = json.loads((places.MODEL / "config.json").read_text()) | SHAPE
    config |= {"dtype": "float32", "torch_dtype": "float32", "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    chance = random.Random(1)
    # A prime number of weights, over and over: enough that no two rows are alike.
    block = struct.pack("<65537f", *(chance.gauss(0, 0.02) for _ in range(65537)))
    header, offset = {}, 0
    for name, shape in tensor_shapes(config):
        size = 4
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write((block * (offset // len(block) + 1))[:offset])


class PeakMemory(threading.Thread):
    """The most that any rank of a task has used, by the system's own high-water mark."""

    def __init__(self, folder, task):
        super().__init__(daemon=True)
        self.folder, self.task, self.bytes, self.going = folder, task, 0, True

    def run(self):
        while self.going:
            for process in processes.trainers_of(self.folder, self.task):
                self.bytes = max(self.bytes, self.peak_of(process.pid))
            time.sleep(0.05)

    @staticmethod
    def peak_of(pid):
        try:
            with open(f"/proc/{pid}/status") as status:
                return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), 0)
        except OSError:
            return 0


class PlanTest(ProgramTest):
    def regroup(self, *arguments, timeout=900):
        return subprocess.run([places.PROGRAMS / "regroup", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)  # fmt: skip

    def test_the_memory_of_training_is_what_was_planned(self):
        source = self.folder / "model"
        write_checkpoint(source)
        job = job_file.small_job(self.output, source={"checkpoint": str(source)}, target={"kv_heads": 2},
                                 finetune={"steps": 3, "batch_sequences": 4, "micro_batch_sequences": 4,
                                           "sequence_length": 128, "ranks": 1, "checkpoint_every_steps": 0})  # fmt: skip
        file = self.write_job(job)
        planned = self.regroup("plan", file, "--json")
        self.assertEqual(planned.returncode, 0, planned.stderr)
        expected = json.loads(planned.stdout)["memory_bytes"]["finetune"]
        watcher = PeakMemory(self.folder, "finetune")
        watcher.start()
        done = self.regroup("run", file, "--work-dir", self.folder / "work")
        watcher.going = False
        watcher.join()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        print(f"planned {expected / 2**20:.0f} MiB, used {watcher.bytes / 2**20:.0f} MiB")
        self.assertGreater(watcher.bytes, 500 << 20)
        self.assertAlmostEqual(expected / watcher.bytes, 1, delta=TOLERANCE)

    def test_a_plan_names_the_key_that_cannot_be(self):
        job = job_file.small_job(self.output, source={"checkpoint": str(self.folder / "nowhere")})
        refused = self.regroup("plan", self.write_job(job))
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("source.checkpoint", refused.stderr)

    def test_a_plan_fits_a_narrow_terminal_and_has_no_colours(self):
        shown = self.regroup("plan", self.write_job(job_file.small_job(self.output)), "--flops-per-second", "1e12")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertNotIn("\x1b", shown.stdout)
        self.assertLessEqual(max(map(len, shown.stdout.splitlines())), 80, shown.stdout)
        self.assertIn("75.0 % saved", shown.stdout)
        self.assertFalse(os.path.exists(self.output))


if __name__ == "__main__":
    unittest.main(verbosity=2)
