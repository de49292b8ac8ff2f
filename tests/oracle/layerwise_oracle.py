"""Measures the layers that `layerwise` trained once more, with Transformers.

usage: layerwise_oracle.py <regroup> <logits_tool> <source folder> [trained models' folder]

It converts every model twice, without layerwise distillation and with it. Of each result, one attention module at a time
takes the source's place in the source's own model, so that it reads what the source's module reads. The errors of the
first result are error_before of the layer's record, those of the second one error_after.
"""

import glob
import json
import sys
import tempfile

import torch

from regroup_programs import Programs
from tiny_checkpoints import texts_of, write_text, write_transcripts
from tiny_families import make_family_checkpoint
from trained_models import trained_models
from transformers_checks import AUDIO, in_float32, load, logits_of, token_windows

LENGTH, SEQUENCES = 48, 70
# The trainer rounds streams and targets to bfloat16: an error may differ by this share of itself, and by the share of
# the output's energy that rounding moves.
TOLERANCE, ROUNDING = 1e-2, 2e-5

# case of tiny_families.py: KV heads that are left, settings of layerwise, ranks that record
CASES = {
    "llama": (2, {"layers_per_task": 1}, 2),
    "gpt2": (2, {"layers_per_task": 2}, 1),
    "qwen3": (4, {"map_weight": 0}, 1),
    "olmo2": (2, {}, 1),
    "mistral": (2, {"batch_sequences": 5}, 1),
    "gpt_neox": (4, {"passes": 3}, 1),
    "bloom": (3, {"learning_rate": 2e-3}, 1),
    "t5": (2, {"layers_per_task": 3}, 2),
    "t5gemma": (4, {}, 1),
    "bart": (2, {}, 1),
    "whisper": (2, {"layers_per_task": 3}, 2),
    "gemma2": (4, {}, 1),
    "olmo3": (2, {}, 1),
    "cohere2": (2, {}, 1),
    "phi3": (4, {}, 1),
    "granite": (2, {}, 1),
    "smollm3": (2, {}, 1),
    "qwen2_moe": (2, {}, 1),
    "mixtral": (4, {}, 1),
    "nemotron": (2, {}, 1),
}  # fmt: skip


def attention_modules(model):
    """Returns the parent, the name and the output projection's name of every attention, in the order of our layers."""
    kind = model.config.model_type
    if kind == "t5":
        encoder = [(block.layer[0], "SelfAttention", "o") for block in model.encoder.block]
        decoder = [(layer, name, "o") for block in model.decoder.block
                   for layer, name in ((block.layer[0], "SelfAttention"), (block.layer[1], "EncDecAttention"))]  # fmt: skip
        return encoder + decoder
    if kind == "t5gemma":
        return [(layer, "self_attn", "o_proj") for layer in model.model.encoder.layers] + [
            (layer, name, "o_proj") for layer in model.model.decoder.layers for name in ("self_attn", "cross_attn")]
    if kind in ("bart", "whisper"):
        return [(layer, "self_attn", "out_proj") for layer in model.model.encoder.layers] + [
            (layer, name, "out_proj") for layer in model.model.decoder.layers for name in ("self_attn", "encoder_attn")]
    if kind == "gpt2":
        return [(block, "attn", "c_proj") for block in model.transformer.h]
    if kind == "bloom":
        return [(block, "self_attention", "dense") for block in model.transformer.h]
    if kind == "gpt_neox":
        return [(block, "attention", "dense") for block in model.gpt_neox.layers]
    return [(block, "self_attn", "o_proj") for block in model.model.layers]


def observed(model, place):
    """Returns the module whose output the attention at `place` adds to the stream."""
    parent, name, projection = place
    if model.config.model_type in ("olmo2", "olmo3", "gemma2"):
        return parent.post_attention_layernorm
    if model.config.model_type == "t5gemma":
        return getattr(parent, f"post_{name}_layernorm")
    return getattr(getattr(parent, name), projection)


def added(model, place, windows):
    """Returns what the attention at `place` adds in a forward pass, [windows, tokens, hidden], float64."""
    seen = []
    hook = observed(model, place).register_forward_hook(lambda _, inputs, output: seen.append(output.double()))
    for batch in windows.split(16):
        logits_of(model, batch)
    hook.remove()
    return torch.cat(seen)


def counted(source, values, windows):
    """Returns the rows [rows, hidden] that are of tokens: all but those behind a transcript."""
    if source.config.model_type not in AUDIO or values.shape[1] == source.config.max_source_positions:
        return values.flatten(0, 1)
    return values[windows[:, -values.shape[1] :] >= 0]


def errors(source, result, windows, measured):
    """Returns the error of every layer of `result` on the last `measured` windows."""
    found = []
    for place, other in zip(attention_modules(source), attention_modules(result), strict=True):
        expected = added(source, place, windows)
        rows = counted(source, expected, windows)
        variance = (rows - rows.mean(0)).square().sum(-1).mean()
        parent, name, _ = place
        own = getattr(parent, name)
        setattr(parent, name, getattr(other[0], other[1]))
        merged = added(source, place, windows[-measured:])
        setattr(parent, name, own)
        missing = counted(source, merged - expected[-measured:], windows[-measured:])
        distance = missing.square().sum(-1).mean()
        found.append(((distance / variance).item(), (rows.square().sum(-1).mean() / variance).item()))
    return found


def records_of(work, name):
    """Returns what training did to every layer, in the order of the layers."""
    records = []
    for path in glob.glob(f"{work}/regroup/jobs/{name}-*/layerwise-*/*/out/layer-*.json"):
        with open(path) as file:
            records.append(json.load(file))
    return sorted(records, key=lambda record: record["layer"])


def check(programs, work, name, source_folder, train, job):
    """Returns the errors' sums before and after."""
    kv_heads, settings, ranks = job
    settings = {"data": train, "sequences": SEQUENCES, "sequence_length": LENGTH, **settings}
    merged, trained = (programs.convert(
        work, f"{name}-{kind}", source_folder, kv_heads, layerwise={**settings, "method": method},
        calibration={"data": train, "sequences": 24, "sequence_length": LENGTH, "ranks": ranks},
        alignment={"method": "procrustes"}, finetune={"method": "none"})
        for kind, method in (("merged", "none"), ("trained", "distill")))  # fmt: skip
    source, records = load(source_folder), records_of(work, f"{name}-trained")
    windows = token_windows(source_folder, train, LENGTH)[:SEQUENCES]
    assert len(windows) == SEQUENCES
    before, after = (errors(source, load(folder), windows, SEQUENCES // 16) for folder in (merged, trained))
    assert [record["layer"] for record in records] == list(range(len(before))), (name, records)
    worst = 0.0
    for record, *expected in zip(records, before, after, strict=True):
        for key, (error, energy) in zip(("error_before", "error_after"), expected):
            distance = abs(record[key] - error)
            assert distance < TOLERANCE * error + ROUNDING * energy, (name, record, key, error, energy)
            worst = max(worst, distance / error)
        assert record["error_after"] < record["error_before"] and not record["kept_start"], (name, record)
    shown = ", ".join(f"{record['error_before']:.3f} -> {record['error_after']:.3f}" for record in records)
    print(f"{name}, {kv_heads} KV heads: {shown}; within {worst:.1e} of Transformers'", flush=True)
    return sum(record["error_before"] for record in records), sum(record["error_after"] for record in records)


def main():
    regroup, logits_tool, source_tree, *named = sys.argv[1:]
    torch.set_num_threads(1)
    programs = Programs(regroup, logits_tool)
    with tempfile.TemporaryDirectory() as work:
        train = f"{work}/train.jsonl"
        write_text(train, 150, seed=1)
        write_transcripts(f"{work}/spoken.jsonl", texts_of(train), seconds=1, seed=1)
        for case, job in CASES.items():
            source_folder = make_family_checkpoint(work, case, texts_of(train))
            data = f"{work}/spoken.jsonl" if case in AUDIO else train
            check(programs, work, case.replace("_", "-"), source_folder, data, job)
        for trained in trained_models(source_tree, named):
            trained = in_float32(trained, f"{work}/{trained.name}-source")
            before, after = check(programs, work, trained.name, trained.folder, trained.train, (2, {}, 1))
            assert after < 0.7 * before, (trained.name, before, after)
    print("the errors of layerwise distillation agree with Transformers")


main()
