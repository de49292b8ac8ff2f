"""Greedy decoding with our KV cache gives Transformers' tokens: for the shipped model, for its conversion to fewer KV
heads, and for the trained model of REGROUP_TRAINED_MODELS where it is at hand.

usage: decode_oracle.py <regroup> <logits_tool> <decode_tool> <source folder> <shared folder>
"""

import json
import os
import subprocess
import sys
import tempfile

import torch

from prompts import greedy_of, prompts_of
from regroup_programs import Programs
from transformers_checks import load

NEW_TOKENS = 40


def check(decode_tool, folder, data, scratch):
    model = load(folder)
    # Transformers forbids the end token until min_new_tokens; ours has no such rule, so nothing may end the text.
    model.generation_config.eos_token_id = None
    prompts = prompts_of(folder, data, 8, 60)
    with open(f"{scratch}/prompts.json", "w") as file:
        json.dump(prompts, file)
    done = subprocess.run([decode_tool, folder, f"{scratch}/prompts.json", str(NEW_TOKENS)], check=True,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    ours, expected = json.loads(done.stdout), greedy_of(model, prompts, NEW_TOKENS)
    assert [len(one) for one in expected] == [NEW_TOKENS] * len(prompts)
    for prompt, own, other in zip(prompts, ours, expected):
        assert own == other, (folder, len(prompt), own, other)
    print(f"{folder}: {len(prompts)} continuations of {NEW_TOKENS} tokens are equal", flush=True)


def main():
    regroup, logits_tool, decode_tool, source, shared = sys.argv[1:]
    programs, demo = Programs(regroup, logits_tool), f"{source}/deploy/demo"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        valid = f"{demo}/valid.jsonl"
        check(decode_tool, f"{demo}/model", valid, work)
        folder = programs.convert(work, "demo-k2", f"{demo}/model", 2, finetune={"method": "none"},
                                  calibration={"data": f"{demo}/train.jsonl", "sequences": 8, "sequence_length": 128})  # fmt: skip
        check(decode_tool, folder, valid, work)
        trained = os.path.abspath(f"{shared}/models/llama-mha-6m")
        if os.path.isdir(trained):
            check(decode_tool, trained, f"{shared}/data/valid.jsonl", work)
        else:
            print(f"not checked: {trained} is missing")


main()
