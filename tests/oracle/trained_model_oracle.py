"""The same checks on a really trained model, where it is at hand: models/llama-mha-6m of REGROUP_TRAINED_MODELS.

usage: trained_model_oracle.py <regroup> <logits_tool> <shared folder>
Exits with 77, which ctest counts as skipped, where the model or the text is missing.
"""

import os
import sys
import tempfile

import torch

from plain_average import check_plain_average
from regroup_programs import Programs
from transformers_checks import (check_configuration, check_logits, check_perplexity, load, logits_of, random_tokens,
                                 relative_difference)  # fmt: skip

LENGTH = 128


def main():
    programs, shared = Programs(sys.argv[1], sys.argv[2]), os.path.abspath(sys.argv[3])
    source_folder = f"{shared}/models/llama-mha-6m"
    train, valid = f"{shared}/data/train.jsonl", f"{shared}/data/valid.jsonl"
    missing = [path for path in (source_folder, train, valid) if not os.path.exists(path)]
    if missing:
        print(f"SKIPPED, nothing was checked: {', '.join(missing)} missing")
        sys.exit(77)
    torch.set_num_threads(1)
    source = load(source_folder)
    tokens = random_tokens(source, 2, 200)
    expected, difference = check_logits(programs, source_folder, tokens, source)
    print(f"source: logits within {difference:.1e}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        # The first texts are enough for an equality, and keep the test short.
        texts = f"{work}/valid.jsonl"
        with open(valid, encoding="utf-8") as file, open(texts, "w", encoding="utf-8") as part:
            part.writelines(line for _, line in zip(range(200), file))
        for kv_heads, method, compare in ((8, "procrustes", "value"), (8, "principal", "value"), (2, "none", "none"),
                                          (2, "procrustes", "value")):  # fmt: skip
            folder = programs.convert(
                work, f"six-m-k{kv_heads}-{method}", source_folder, kv_heads,
                calibration={"data": train, "sequences": 32, "sequence_length": LENGTH},
                alignment={"method": method, "compare": compare}, finetune={"method": "none"},
                evaluation={"perplexity": {"data": texts, "sequence_length": LENGTH}})  # fmt: skip
            result = load(folder)
            check_configuration(folder, source_folder, kv_heads)
            logits, own = check_logits(programs, folder, tokens, result)
            moved = relative_difference(logits, expected)
            assert kv_heads != 8 or moved < 1e-4, (method, moved)
            if method == "none":
                check_plain_average(source_folder, folder, kv_heads)
            perplexity = check_perplexity(folder, source_folder, texts, LENGTH, source, result)
            print(f"{kv_heads} KV heads, {method}: own logits {own:.1e}, moved {moved:.1e}, perplexity "
                  f"{perplexity['source']:.3f} -> {perplexity['result']:.3f}", flush=True)  # fmt: skip
    print("the trained model agrees with Transformers")


main()
