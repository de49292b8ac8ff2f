"""Compares multiple choice with lm-evaluation-harness, item by item: log-likelihoods of all choices, and the accuracies by
sum (acc), per character (acc_norm) and per byte (acc_bytes).

On the shipped model, with items of its own text, and contexts that are empty, end with spaces, or are too long; where
REGROUP_TRAINED_MODELS is set also on its model with the sets in its data/mc, of which the first 40 items, or with
REGROUP_NIGHTLY=1 all. The command and the task file are those of trainer/eval/README.md.

usage: lm_eval_oracle.py <regroup> <logits_tool> <source folder> [trained models' folder]
"""

import glob
import json
import os
import sys
import tempfile

from lm_eval_run import compare
from multiple_choice_sets import convert_and_measure, first_items, write_generated_set
from regroup_programs import Programs, report_of
from trained_models import trained_models

def write_odd_set(path):
    items = [
        {"context": "", "choices": ["Once upon a time", "the", "zebra"], "label": 0},
        {"context": "One day, a girl ", "choices": ["went to the park.", "", "né"], "label": 0},
        {"context": "The cat said:\n\n", "choices": ["\"Hello!\"", "漢字"], "label": 1},
        {"context": "Tom and his dog ran. " * 80, "choices": ["They were happy.", "They"], "label": 0},
        {"context": "Lily", "choices": [" has two spaces before her", "likes dogs"], "label": 0},
    ]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)


def check_model(programs, work, trained, sets):
    name, source_folder, _, _ = trained
    folder = convert_and_measure(programs, work, trained, sets)
    report = report_of(folder)
    for subject, path in (("source", source_folder), ("result", folder)):
        [task] = glob.glob(f"{work}/regroup/jobs/{name}*/evaluate-{subject}/1/out")
        for data, reported in zip(sets.values(), report[subject]["multiple_choice"], strict=True):
            compare(f"{name} {subject}", path, data, task, reported, work)


def main():
    regroup, logits_tool, source, *named = sys.argv[1:]
    programs = Programs(regroup, logits_tool)
    with tempfile.TemporaryDirectory() as work:
        for trained in trained_models(source, named):
            made = sorted(glob.glob(f"{os.path.dirname(trained.valid)}/mc/*.jsonl"))
            sets = {os.path.basename(path)[:-6]: first_items(path, work) for path in made}
            if not sets:
                sets = {"generated": f"{work}/generated.jsonl", "odd": f"{work}/odd.jsonl"}
                write_generated_set(sets["generated"], trained.valid, 40)
                write_odd_set(sets["odd"])
            check_model(programs, work, trained, sets)


main()
