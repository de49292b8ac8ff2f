#!/usr/bin/env python3
"""Compares the perplexities that a report names for source and result with Transformers' on the same windows.

    build/venv/bin/python tests/real_model/check_perplexity.py OUT

OUT is the folder of a finished convert.py: its job.yaml names the source, the text and the windows. Fails if either
perplexity differs by 0.1 % or more, or if Transformers does not load the result without missing or unexpected tensors.
"""

import json
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

from regroup_programs import report_of  # noqa: E402
from transformers_checks import load, perplexity_of, token_windows  # noqa: E402

TOLERANCE = 1e-3


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    job = json.loads((pathlib.Path(sys.argv[1]) / "job.yaml").read_text())
    source, result, text = job["source"]["checkpoint"], job["output"]["checkpoint"], job["evaluation"]["perplexity"]
    windows = token_windows(source, text["data"], text["sequence_length"])[: text["max_windows"] or None]
    differ = []
    for subject, folder in (("source", source), ("result", result)):
        ours = report_of(result)[subject]["perplexity"]
        # The logits of one window are 200 MB.
        theirs = perplexity_of(load(folder), windows, batch=1)
        print(f"perplexity of the {subject} on {len(windows)} windows: {ours:.5f}, in Transformers {theirs:.5f}, "
              f"ratio {ours / theirs:.7f}", flush=True)
        differ += [subject] if abs(ours / theirs - 1) >= TOLERANCE else []
    sys.exit(f"check_perplexity: not that of Transformers: {', '.join(differ)}" if differ else 0)


if __name__ == "__main__":
    main()
