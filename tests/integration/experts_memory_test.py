#!/usr/bin/env python3
"""A mixture of experts larger than any stage may hold is converted one layer at a time: calibrate, align, layerwise and
export stay below two layers and the residual streams. The experts' weights are a hole in the file, 4 GB of zeros."""

import json
import math
import os
import random
import struct
import sys
import unittest

from harness import job_file, places
from harness.program_test import ProgramTest

LAYERS, HIDDEN, HEADS, EXPERTS, WIDTH = 8, 1024, 16, 16, 5088
SEQUENCES, LENGTH = 16, 64
MIB = 1 << 20
LAYER_PARAMETERS = EXPERTS * 3 * HIDDEN * WIDTH + 4 * HIDDEN * HIDDEN
# Memory of a trainer beside the model: libtorch, allocator, tokens, statistics, tensors on their way to disk.
PROGRAM = 400 * MIB

# Stands in for regroup-trainer: runs it and keeps the most anonymous memory that it had beside the attempt's logs. Mapped
# pages of the checkpoint, which the kernel drops when it needs room, do not count.
MEASURING_TRAINER = """#!{python}
import os, pathlib, re, subprocess, sys, time
child = subprocess.Popen(["{trainer}", *sys.argv[1:]])
peak = 0
while child.poll() is None:
    try:
        status = pathlib.Path(f"/proc/{{child.pid}}/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+)", status).group(1)))
    except (OSError, AttributeError):
        pass
    time.sleep(0.01)
attempt = pathlib.Path(sys.argv[sys.argv.index("--attempt") + 1])
(attempt / "peak_memory_kib").write_text(str(peak))
sys.exit(child.returncode)
"""


def config(vocabulary):
    return {"model_type": "qwen2_moe", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS, "intermediate_size": WIDTH, "moe_intermediate_size": WIDTH, "num_experts": EXPERTS,
            "num_experts_per_tok": 2, "shared_expert_intermediate_size": 64, "vocab_size": vocabulary,
            "max_position_embeddings": 256, "qkv_bias": False, "tie_word_embeddings": False, "dtype": "bfloat16"}  # fmt: skip


def tensor_shapes(vocabulary):
    """Yields names and shapes, those of the experts last."""
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN)
    yield "lm_head.weight", (vocabulary, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in "qkvo":
            yield f"{prefix}.self_attn.{name}_proj.weight", (HIDDEN, HIDDEN)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}.{name}.weight", (HIDDEN,)
        yield f"{prefix}.mlp.gate.weight", (EXPERTS, HIDDEN)
        yield f"{prefix}.mlp.shared_expert_gate.weight", (1, HIDDEN)
        yield f"{prefix}.mlp.shared_expert.gate_proj.weight", (64, HIDDEN)
        yield f"{prefix}.mlp.shared_expert.up_proj.weight", (64, HIDDEN)
        yield f"{prefix}.mlp.shared_expert.down_proj.weight", (HIDDEN, 64)
    for layer in range(LAYERS):
        for expert in range(EXPERTS):
            prefix = f"model.layers.{layer}.mlp.experts.{expert}"
            yield f"{prefix}.gate_proj.weight", (WIDTH, HIDDEN)
            yield f"{prefix}.up_proj.weight", (WIDTH, HIDDEN)
            yield f"{prefix}.down_proj.weight", (HIDDEN, WIDTH)


def write_sparse_model(folder):
    """Returns the bytes of all weights."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_bytes((places.MODEL / name).read_bytes())
    vocabulary = json.loads((places.MODEL / "config.json").read_text())["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config(vocabulary)))
    header, offset, dense = {}, 0, 0
    for name, shape in tensor_shapes(vocabulary):
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
        dense = offset if ".mlp.experts." not in name else dense
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    chance = random.Random(1)
    # A prime number of weights, over and over: the upper halves of float32 numbers.
    block = b"".join(struct.pack("<f", chance.gauss(0, 0.03))[2:] for _ in range(65537))
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.write((block * (dense // len(block) + 1))[:dense])
        file.truncate(8 + len(text) + offset)
    return offset


class ExpertsMemoryTest(ProgramTest):
    def test_no_stage_holds_more_than_two_layers(self):
        size = write_sparse_model(self.folder / "model")
        self.assertGreater(size, 4e9)
        trainer = self.folder / "measuring-trainer"
        trainer.write_text(MEASURING_TRAINER.format(python=sys.executable, trainer=places.PROGRAMS / "regroup-trainer"))
        trainer.chmod(0o755)
        cluster = self.start_cluster(workers=1, slots=1, trainer=trainer)
        job = cluster.submit(self.write_job(job_file.aligned_only(
            self.results / "experts", name="experts", source={"checkpoint": str(self.folder / "model")},
            target={"kv_heads": 4}, alignment={"method": "principal"},
            layerwise={"method": "distill", "sequences": SEQUENCES, "sequence_length": LENGTH, "passes": 1},
            calibration={"sequences": SEQUENCES, "sequence_length": LENGTH}), "experts.yaml"))  # fmt: skip
        self.assert_succeeded(cluster.wait_for_end(job, patience_s=900))
        streams = 4 * SEQUENCES * LENGTH * HIDDEN
        peaks = {}
        for path in (cluster.work / "jobs" / job).glob("*/*/peak_memory_kib"):
            stage = path.parent.parent.name.split("-")[0]
            peaks[stage] = max(peaks.get(stage, 0), 1024 * int(path.read_text()))
        print("peaks in MiB: " + ", ".join(f"{stage} {peak / MIB:.0f}" for stage, peak in sorted(peaks.items())) +
              f"; two layers in float32 {2 * 4 * LAYER_PARAMETERS / MIB:.0f}, the model {size / MIB:.0f}")
        for stage in ("calibrate", "align", "layerwise", "export"):
            self.assertLess(peaks[stage], 2 * 4 * LAYER_PARAMETERS + 2 * streams + PROGRAM, stage)
        # The experts are written as they were: the result differs in keys and values alone.
        saved = 2 * 2 * LAYERS * HIDDEN * HIDDEN * 3 // 4
        written = sum(path.stat().st_size for path in (self.results / "experts").glob("*.safetensors"))
        self.assertLess(abs(size - saved - written), MIB)


if __name__ == "__main__":
    unittest.main(verbosity=2)
