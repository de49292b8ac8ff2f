"""Greedy decoding with our KV cache gives Transformers' tokens: for the shipped model, for its conversion to fewer KV
heads, for the trained model of REGROUP_TRAINED_MODELS where it is set, and for random encoder-decoders.

usage: decode_oracle.py <regroup> <logits_tool> <decode_tool> <source folder> [trained models' folder]
"""

import json
import subprocess
import sys
import tempfile

import torch

from prompts import greedy_of, prompts_of
from regroup_programs import Programs
from tiny_checkpoints import texts_of, write_text
from tiny_families import make_family_checkpoint
from trained_models import trained_models
from transformers_checks import load

NEW_TOKENS = 40
ENCODER_DECODERS = ("t5", "t5gemma", "bart", "m2m_100")


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
    regroup, logits_tool, decode_tool, source, *named = sys.argv[1:]
    programs = Programs(regroup, logits_tool)
    demo, *others = trained_models(source, named)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        check(decode_tool, demo.folder, demo.valid, work)
        for kv_heads in (4, 2):
            folder = programs.convert(work, f"demo-k{kv_heads}", demo.folder, kv_heads, finetune={"method": "none"},
                                      calibration={"data": demo.train, "sequences": 8, "sequence_length": 128})  # fmt: skip
            check(decode_tool, folder, demo.valid, work)
        for other in others:
            check(decode_tool, other.folder, other.valid, work)
        write_text(f"{work}/text.jsonl", 60, seed=1)
        for case in ENCODER_DECODERS:
            folder = make_family_checkpoint(work, case, texts_of(f"{work}/text.jsonl"))
            check(decode_tool, folder, f"{work}/text.jsonl", work)


main()
