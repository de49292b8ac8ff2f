#!/usr/bin/env python3
"""Compares the logits of source and result in Transformers, for a conversion that must not change the function.

    build/venv/bin/python tests/real_model/check_exact.py OUT [--windows N]

OUT is the folder of a finished convert.py, N the number of windows of its evaluation text to read (default 4). Fails if a
logit differs by more than 1e-4 times the largest of its window, or if another token becomes the most probable one where
the two most probable ones of the source are further apart than that.
"""

import argparse
import json
import pathlib
import sys

import torch

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

from transformers_checks import load, logits_of, token_windows  # noqa: E402

TOLERANCE = 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--windows", type=int, default=4)
    arguments = parser.parse_args()
    job = json.loads((arguments.out / "job.yaml").read_text())
    source, result, text = job["source"]["checkpoint"], job["output"]["checkpoint"], job["evaluation"]["perplexity"]
    windows = token_windows(source, text["data"], text["sequence_length"])[: arguments.windows]
    models = load(source), load(result)
    heads = [model.config.num_key_value_heads for model in models]
    largest, changed = 0.0, 0
    for window in windows:
        tokens = torch.as_tensor(window).reshape(1, -1)
        before, after = (logits_of(model, tokens) for model in models)
        allowed = TOLERANCE * before.abs().max().item()
        largest = max(largest, (after - before).abs().max().item() / before.abs().max().item())
        best = before.topk(2, -1).values
        decided = best[..., 0] - best[..., 1] > 2 * allowed
        changed += (decided & (before.argmax(-1) != after.argmax(-1))).sum().item()
    print(f"{heads[0]} KV heads became {heads[1]}: on {len(windows)} windows no logit differs by more than {largest:.1e} of the "
          f"window's largest, {changed} most probable tokens changed")  # fmt: skip
    sys.exit("check_exact: the result computes something else" if largest > TOLERANCE or changed else 0)


if __name__ == "__main__":
    main()
