#!/usr/bin/env python3
"""Compares source and result on sets of multiple-choice questions with lm-evaluation-harness, item by item.

    build/venv/bin/python tests/real_model/check_choices.py OUT

OUT is the folder of a finished convert.py with --choices. Fails if a log-likelihood differs by 1e-4 or an accuracy differs.
"""

import json
import pathlib
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))

from lm_eval_run import compare  # noqa: E402
from regroup_programs import report_of  # noqa: E402


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    job = json.loads((out / "job.yaml").read_text())
    report = report_of(job["output"]["checkpoint"])
    for subject, folder in (("source", job["source"]["checkpoint"]), ("result", job["output"]["checkpoint"])):
        [task] = (out / "work/jobs").glob(f"*/evaluate-{subject}/1/out")
        for given, reported in zip(job["evaluation"]["multiple_choice"], report[subject]["multiple_choice"], strict=True):
            with tempfile.TemporaryDirectory() as work:
                compare(subject, folder, given["data"], task, reported, work)


if __name__ == "__main__":
    main()
