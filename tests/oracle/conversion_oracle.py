"""Converts tiny random checkpoints with the real programs and checks the results with Transformers and NumPy.

usage: conversion_oracle.py <regroup> <logits_tool>
"""

import os
import sys
import tempfile

import torch

from plain_average import check_plain_average
from regroup_programs import Programs
from tiny_checkpoints import VARIANTS, make_checkpoint, texts_of, write_text
from transformers_checks import (check_configuration, check_logits, check_perplexity, load, logits_of, random_tokens,
                                 relative_difference)  # fmt: skip

LENGTH = 48
NONE = {"method": "none"}
# Storage in 16 bits rounds every weight that alignment touches: half a unit in the last place of a weight, through
# two layers.
UNCHANGED = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}

# checkpoint, KV heads, alignment, fine-tuning, whether the outputs are refitted, and whether layers are distilled alone
JOBS = [
    ("plain", 8, {"method": "procrustes"}, NONE, False),
    ("plain", 8, {"method": "principal"}, NONE, False),
    ("plain", 4, {"method": "none", "compare": "none"}, NONE, False),
    ("plain", 2, {"method": "procrustes", "compare": "joint", "similarity": "distance"}, NONE, False),
    ("plain", 2, {"method": "procrustes"}, {"method": "l0", "steps": 5, "ranks": 2}, False),
    ("tied-biased", 8, {"method": "procrustes"}, NONE, False),
    ("tied-biased", 2, {"method": "none", "compare": "none"}, NONE, False),
    ("tied-biased", 4, {"method": "principal", "similarity": "residual"}, {"method": "l0", "steps": 3}, False),
    ("grouped-old-style", 6, {"method": "principal"}, NONE, False),
    ("grouped-old-style", 2, {"method": "none", "compare": "none"}, NONE, False),
    ("grouped-old-style", 3, {"method": "procrustes", "compare": "key"}, {"method": "direct", "steps": 3}, False),
    # Targets that do not divide the 6 KV heads, but the 12 query heads.
    ("grouped-old-style", 4, {"method": "none", "compare": "none"}, NONE, False),
    ("grouped-old-style", 4, {"method": "principal", "compare": "joint"}, {"method": "l0", "steps": 5, "ranks": 2}, True),
    ("grouped-old-style", 4, {"method": "principal", "compare": "value"}, NONE, False, True),
    ("wide-biased", 8, {"method": "principal"}, NONE, False),
    ("wide-biased", 1, {"method": "principal"}, NONE, False),
    ("wide-biased", 2, {"method": "principal"}, NONE, True),
]  # fmt: skip


def sections(train, valid, alignment, finetune, refine, layerwise):
    training = dict(finetune)
    if finetune["method"] != "none":
        training.update(data=train, batch_sequences=8, micro_batch_sequences=2, sequence_length=LENGTH, learning_rate=1e-3)
    return {"calibration": {"data": train, "sequences": 24, "sequence_length": LENGTH}, "alignment": alignment,
            "refine": {"outputs": refine}, "finetune": training,
            "layerwise": {"method": "distill", "sequences": 24, "sequence_length": LENGTH} if layerwise else NONE,
            "evaluation": {"perplexity": {"data": valid, "sequence_length": LENGTH}}}  # fmt: skip


def run_job(programs, work, train, valid, sources, number, job):
    name, kv_heads, alignment, finetune, refine, *layerwise = job
    source_folder = f"{work}/{name}"
    if name not in sources:
        sources[name] = load(source_folder)
        tokens = random_tokens(sources[name], 3, 100)
        _, difference = check_logits(programs, source_folder, tokens, sources[name])
        print(f"{name}: source logits within {difference:.1e} of Transformers'", flush=True)
    source = sources[name]
    label = f"job-{number}-k{kv_heads}-{alignment['method']}-{finetune['method']}" + ("-refine" if refine else "") + ("-layerwise" if layerwise else "")
    settings = sections(train, valid, alignment, finetune, refine, layerwise)
    folder = programs.convert(work, label, source_folder, kv_heads, **settings)
    result = load(folder)
    check_configuration(folder, source_folder, kv_heads)
    tokens = random_tokens(source, 3, 100)
    logits, own = check_logits(programs, folder, tokens, result)
    moved = relative_difference(logits, logits_of(source, tokens))
    if kv_heads == source.config.num_key_value_heads:
        assert moved < UNCHANGED[VARIANTS[name][0]], (label, "alignment without merging changed the logits", moved)
    if alignment["method"] == "none" and finetune["method"] == "none" and not layerwise:
        check_plain_average(source_folder, folder, kv_heads)
    perplexity = check_perplexity(folder, source_folder, valid, LENGTH, source, result)
    print(f"{name} {label}: own logits {own:.1e}, moved from the source {moved:.1e}, perplexity "
          f"{perplexity['source']:.3f} -> {perplexity['result']:.3f}", flush=True)  # fmt: skip


def main():
    torch.set_num_threads(1)
    programs = Programs(sys.argv[1], sys.argv[2])
    with tempfile.TemporaryDirectory() as work:
        train, valid = f"{work}/train.jsonl", f"{work}/valid.jsonl"
        write_text(train, 300, seed=1)
        write_text(valid, 60, seed=2)
        for name in VARIANTS:
            make_checkpoint(work, name, texts_of(train))
        sources = {}
        for number, job in enumerate(JOBS):
            run_job(programs, work, train, valid, sources, number, job)
        assert not [name for name in os.listdir(work) if name.startswith(".")], "staged folders were left behind"
    print(f"{len(JOBS)} jobs agree with Transformers")


main()
