"""Compares `regroup plan` with a real run: the memory of a training rank must agree within 15 %; and checks the plans
of the example jobs, whose models are headers without weights here, against published sizes."""

import json
import math
import os
import random
import re
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
        shared = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
        for name, rows in (("q", hidden), ("k", shared), ("v", shared), ("o", hidden)):
            yield f"{prefix}.self_attn.{name}_proj.weight", (rows, hidden)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}.{name}.weight", (hidden,)
        yield f"{prefix}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{prefix}.mlp.up_proj.weight", (inner, hidden)
        yield f"{prefix}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def write_checkpoint(folder):
    """Writes a random LLaMA of 30 million parameters with the demonstration's tokenizer."""
    shutil.copytree(places.MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors*", "config.json"))
    config = json.loads((places.MODEL / "config.json").read_text()) | SHAPE
    config |= {"dtype": "float32", "torch_dtype": "float32", "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    chance = random.Random(1)
    # A prime number of weights, over and over: enough that no two rows are alike.
    block = struct.pack("<65537f", *(chance.gauss(0, 0.02) for _ in range(65537)))
    header, size = safetensors_header(tensor_shapes(config), "F32")
    with open(folder / "model.safetensors", "wb") as file:
        file.write(header)
        file.write((block * (size // len(block) + 1))[:size])


def safetensors_header(shapes, dtype):
    """Returns the beginning of the file, and the number of bytes of weights that follow."""
    header, offset = {}, 0
    for name, shape in shapes:
        size = math.prod(shape) * {"F32": 4, "F16": 2, "BF16": 2}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offset


def write_hollow_checkpoint(folder, config, shapes, dtype):
    """Writes a checkpoint whose weights are a hole in a sparse file, which has its size but no blocks on disk. Its tokenizer
    is the demonstration's, with fewer tokens than the model."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(places.MODEL / name, folder)
    (folder / "config.json").write_text(json.dumps(config))
    header, size = safetensors_header(shapes, dtype)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def llama(hidden, layers, heads, kv_heads, inner, vocabulary):
    return {"model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "intermediate_size": inner, "vocab_size": vocabulary,
            "max_position_embeddings": 4096}  # fmt: skip


T5_BASE = {"model_type": "t5", "d_model": 768, "num_layers": 12, "num_heads": 12, "d_kv": 64, "d_ff": 3072,
           "vocab_size": 32128, "n_positions": 512}  # fmt: skip


def t5_shapes(config):
    hidden, inner = config["d_model"], config["d_ff"]
    attention = config["num_heads"] * config["d_kv"]
    yield "shared.weight", (config["vocab_size"], hidden)
    for stack, attentions in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for block in range(config["num_layers"]):
            for place, name in enumerate(attentions):
                prefix = f"{stack}.block.{block}.layer.{place}"
                for part in "qkv":
                    yield f"{prefix}.{name}.{part}.weight", (attention, hidden)
                yield f"{prefix}.{name}.o.weight", (hidden, attention)
                yield f"{prefix}.layer_norm.weight", (hidden,)
            prefix = f"{stack}.block.{block}.layer.{len(attentions)}"
            yield f"{prefix}.DenseReluDense.wi.weight", (inner, hidden)
            yield f"{prefix}.DenseReluDense.wo.weight", (hidden, inner)
            yield f"{prefix}.layer_norm.weight", (hidden,)
        yield f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, config["num_heads"])
        yield f"{stack}.final_layer_norm.weight", (hidden,)


LLAMA_2_7B = llama(4096, 32, 32, 32, 11008, 32000)
SHEARED_LLAMA = llama(2048, 24, 16, 16, 5504, 32000)
LLAMA_3_8B = llama(4096, 32, 32, 8, 14336, 128256)
# Example: configuration, shapes, element type, parameters as published, KV cache bytes of a token before and after.
EXAMPLES = {
    "llama-2-7b-gqa4": (LLAMA_2_7B, tensor_shapes, "F16", 6_738_415_616, 32 * 32 * 128 * 4, 32 * 4 * 128 * 4),
    "sheared-llama-1.3b-gqa4": (SHEARED_LLAMA, tensor_shapes, "F32", 1_345_423_360, 24 * 16 * 128 * 8, 24 * 4 * 128 * 8),
    "gqa-source": (LLAMA_3_8B, tensor_shapes, "BF16", 8_030_261_248, 32 * 8 * 128 * 4, 32 * 4 * 128 * 4),
    "t5": (T5_BASE, t5_shapes, "F32", 222_903_552, 24 * 12 * 64 * 8, 24 * 4 * 64 * 8),
    "sweep": (SHEARED_LLAMA, tensor_shapes, "F32", 1_345_423_360, 24 * 16 * 128 * 8, 24 * 4 * 128 * 8),
}  # fmt: skip


# Model, without groups: the shapes of LLaMA 1 and 2.
LARGE_LLAMAS = {"7B": LLAMA_2_7B, "13B": llama(5120, 40, 40, 40, 13824, 32000),
                "30B": llama(6656, 60, 52, 52, 17920, 32000), "65B": llama(8192, 80, 64, 64, 22016, 32000)}  # fmt: skip


class PeakMemory(threading.Thread):
    """Records the peak memory of any rank of a task, by the system's own high-water mark."""

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

    def test_every_example_is_planned(self):
        examples = {path.stem: path for path in (places.REPOSITORY / "deploy/examples").glob("*.yaml")}
        self.assertEqual(set(examples), set(EXAMPLES))
        for name, (config, shapes, dtype, parameters, before, after) in EXAMPLES.items():
            with self.subTest(name):
                job = examples[name].read_text()
                model = self.folder / name
                write_hollow_checkpoint(model, config, shapes(config), dtype)
                written = re.search(r"checkpoint: (/models/[^}]+)}", job).group(1)
                file = self.folder / f"{name}.yaml"
                file.write_text(self.with_data_here(job.replace(written, str(model), 1)))
                card = ["--gpu-memory-gib", "80"] if "device: cuda" in job else []
                planned = self.regroup("plan", file, "--flops-per-second", "4e14", *card, "--json")
                self.assertEqual(planned.returncode, 0, planned.stderr)
                plan = json.loads(planned.stdout)
                self.assertEqual(plan["model"]["parameters"], parameters)
                self.assertEqual(plan["kv_bytes_per_token"], {"source": before, "result": after})
                self.check_operations(name, plan, parameters)
                if card:
                    self.assertTrue(plan["gpu_fits"], plan["gpu_memory_bytes_of_stages"])
                shown = self.regroup("plan", file, "--flops-per-second", "4e14", *card).stdout
                print(f"--- regroup plan deploy/examples/{name}.yaml --flops-per-second 4e14\n{shown}", flush=True)
                self.assertLessEqual(max(map(len, shown.splitlines())), 80, shown)

    def finetune_bytes(self, model, ranks, shard):
        """Returns the GPU memory that a rank of `l0` needs."""
        file = self.write_job({
            "name": "large", "source": {"checkpoint": str(model)}, "target": {"kv_heads": 4},
            "calibration": {"data": str(places.TRAINING_TEXT)}, "resources": {"device": "cuda"},
            "finetune": {"method": "l0", "steps": 1000, "batch_sequences": 64, "sequence_length": 2048, "ranks": ranks,
                         "recompute": "block", "shard": shard},
            "output": {"checkpoint": str(self.output)}})  # fmt: skip
        planned = self.regroup("plan", file, "--flops-per-second", "4e14", "--gpu-memory-gib", "80", "--json")
        self.assertEqual(planned.returncode, 0, planned.stderr)
        return json.loads(planned.stdout)["gpu_memory_bytes_of_stages"]["finetune"]

    def test_the_table_of_large_models_is_that_of_the_plan(self):
        rows = []
        for name, config in LARGE_LLAMAS.items():
            model = self.folder / name
            write_hollow_checkpoint(model, config, tensor_shapes(config), "BF16")
            for ranks in (8, 16, 32):
                cells = []
                for shard in ("optimizer", "gradients", "all"):
                    needed = self.finetune_bytes(model, ranks, shard)
                    # CUDA takes 1.5 GiB itself; 80 GB are less than 80 GiB.
                    fits = needed + 1.5 * 2**30 <= 80e9
                    cells.append(f"**{needed / 2**30:.1f}**" if fits else f"{needed / 2**30:.1f}")
                rows.append(f"| {name} | {ranks} | {' | '.join(cells)} |")
        table = "\n".join(rows)
        if table not in (places.REPOSITORY / "trainer/README.md").read_text():
            self.fail(f"the table in trainer/README.md is now:\n{table}")

    def with_data_here(self, job):
        """Returns an example job with data files that exist in the place of its own."""
        questions = self.folder / "questions.jsonl"
        questions.write_text(json.dumps({"context": "The", "choices": [" cat", " dog"], "label": 0}) + "\n")
        job = re.sub(r"(name: \w+, data: )/data/\w+\.jsonl", rf"\g<1>{questions}", job)
        return re.sub(r"data: /data/[\w-]+\.jsonl", f"data: {places.TRAINING_TEXT}", job)

    def check_operations(self, name, plan, parameters):
        """Training: 2 operations a parameter and token forward for the teacher, 6 for the student; of an encoder-decoder
        each token sees half of the layers."""
        training = plan["tokens"]["training"]
        if not training:
            return
        expected = 8 * parameters * training * (0.5 if name == "t5" else 1)
        self.assertGreater(plan["flops"] / expected, 0.75)
        self.assertLess(plan["flops"] / expected, 1.6)

    def test_the_coordinator_plans_the_same(self):
        cluster = self.start_cluster(workers=0)
        file = self.write_job(job_file.small_job(self.output))
        here = json.loads(self.regroup("plan", file, "--flops-per-second", "1e12", "--json").stdout)
        there = cluster.json_of("plan", file, "--remote")
        self.assertEqual(int(there["model"]["parameters"]), here["model"]["parameters"])
        self.assertEqual(int(there["source_kv_bytes_per_token"]), here["kv_bytes_per_token"]["source"])
        self.assertEqual(int(there["result_kv_bytes_per_token"]), here["kv_bytes_per_token"]["result"])
        self.assertEqual(int(there["training_tokens"]), here["tokens"]["training"])
        self.assertEqual(there["flops"], here["flops"])
        self.assertAlmostEqual(int(there["storage_bytes"]), here["storage_bytes"], delta=1)
        self.assertAlmostEqual(int(there["memory_bytes_per_rank"]) / here["memory_bytes_per_rank"], 1, delta=0.05)
        shown = cluster.regroup("plan", file, "--remote")
        self.assertIn("75.0 % saved", shown.stdout)
        self.assertLessEqual(max(map(len, shown.stdout.splitlines())), 80, shown.stdout)
        missing = job_file.small_job(self.output, source={"checkpoint": str(self.folder / "nowhere")})
        refused = cluster.regroup("plan", self.write_job(missing, "missing.yaml"), "--remote")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("source.checkpoint", refused.stderr)

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
