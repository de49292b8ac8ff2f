"""The same checks on really trained models: the demonstration's, and that of REGROUP_TRAINED_MODELS where it is set.

usage: trained_model_oracle.py <regroup> <logits_tool> <source folder> [trained models' folder]
"""

import sys
import tempfile

import torch

from plain_average import check_plain_average
from regroup_programs import Programs
from trained_models import trained_models
from transformers_checks import (check_configuration, check_logits, check_perplexity, in_float32, load, logits_of,
                                 random_tokens, relative_difference)  # fmt: skip

LENGTH = 128


def check(programs, trained):
    source = load(trained.folder)
    tokens = random_tokens(source, 2, 200)
    expected, difference = check_logits(programs, trained.folder, tokens, source)
    print(f"{trained.name}: the source's logits within {difference:.1e}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        # The first texts are enough for an equality, and keep the test short.
        texts = f"{work}/valid.jsonl"
        with open(trained.valid, encoding="utf-8") as file, open(texts, "w", encoding="utf-8") as part:
            part.writelines(line for _, line in zip(range(200), file))
        for kv_heads, method, compare in ((8, "procrustes", "value"), (8, "principal", "value"), (2, "none", "none"),
                                          (2, "procrustes", "value")):  # fmt: skip
            folder = programs.convert(
                work, f"{trained.name}-k{kv_heads}-{method}", trained.folder, kv_heads,
                calibration={"data": trained.train, "sequences": 32, "sequence_length": LENGTH},
                alignment={"method": method, "compare": compare}, finetune={"method": "none"},
                evaluation={"perplexity": {"data": texts, "sequence_length": LENGTH}})  # fmt: skip
            result = load(folder)
            check_configuration(folder, trained.folder, kv_heads)
            logits, own = check_logits(programs, folder, tokens, result)
            moved = relative_difference(logits, expected)
            assert kv_heads != 8 or moved < 1e-4, (method, moved)
            if method == "none":
                check_plain_average(trained.folder, folder, kv_heads)
            perplexity = check_perplexity(folder, trained.folder, texts, LENGTH, source, result)
            print(f"{kv_heads} KV heads, {method}: own logits {own:.1e}, moved {moved:.1e}, perplexity "
                  f"{perplexity['source']:.3f} -> {perplexity['result']:.3f}", flush=True)  # fmt: skip


def main():
    regroup, logits_tool, source, *named = sys.argv[1:]
    torch.set_num_threads(1)
    for trained in trained_models(source, named):
        with tempfile.TemporaryDirectory() as work:
            check(Programs(regroup, logits_tool), in_float32(trained, f"{work}/source"))
    print("trained models agree with Transformers")


main()
