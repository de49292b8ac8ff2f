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
import subprocess
import sys
import tempfile

from multiple_choice_sets import convert_and_measure, first_items, write_generated_set
from regroup_programs import Programs, report_of
from trained_models import trained_models

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOLERANCE = 1e-4
ACCURACIES = {"acc": "accuracy", "acc_norm": "accuracy_per_character", "acc_bytes": "accuracy_per_byte"}


def documented(begin):
    """Returns the indented block of the page whose first line starts with `begin`, without its indentation."""
    with open(f"{REPOSITORY}/trainer/eval/README.md") as file:
        lines = file.read().splitlines()
    [first] = [index for index, line in enumerate(lines) if line.startswith("    " + begin)]
    last = first
    while last < len(lines) and lines[last].startswith("    "):
        last += 1
    return "\n".join(line[4:] for line in lines[first:last]) + "\n"


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


def their_results(model, data, work):
    """Runs the documented command; returns its accuracies and the log-likelihoods of each item."""
    tasks = tempfile.mkdtemp(dir=work)
    with open(f"{tasks}/choices.yaml", "w") as file:
        file.write(documented("task: choices").replace("/data/choices.jsonl", data))
    command = documented("lm_eval ").replace("\\\n", " ").replace("/models/llama-gqa4", model).replace("tasks/", tasks + "/")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{work}/hub", "PATH": f"{os.path.dirname(sys.executable)}:/usr/bin:/bin",
                                "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}  # fmt: skip
    done = subprocess.run(["bash", "-ec", command], cwd=tasks, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [result] = glob.glob(f"{tasks}/results/**/results_*.json", recursive=True)
    [samples] = glob.glob(f"{tasks}/results/**/samples_choices_*.jsonl", recursive=True)
    with open(result) as file:
        accuracies = json.load(file)["results"]["choices"]
    with open(samples, encoding="utf-8") as file:
        by_item = {sample["doc_id"]: sample for sample in map(json.loads, file)}
    scores = [[float(score[0]) for score in by_item[index]["filtered_resps"]] for index in range(len(by_item))]
    return {name: accuracies[f"{name},none"] for name in ACCURACIES}, scores


def check_model(programs, work, trained, sets):
    name, source_folder, _, _ = trained
    folder = convert_and_measure(programs, work, trained, sets)
    report = report_of(folder)
    for subject, path in (("source", source_folder), ("result", folder)):
        [task] = glob.glob(f"{work}/regroup/jobs/{name}*/evaluate-{subject}/1/out")
        for index, (set_name, data) in enumerate(sets.items()):
            accuracies, theirs = their_results(path, data, work)
            with open(f"{task}/choices-{set_name}.json") as file:
                ours = [item["log_likelihoods"] for item in json.load(file)]
            worst = max(abs(a - b) for own, other in zip(ours, theirs, strict=True)
                        for a, b in zip(own, other, strict=True))  # fmt: skip
            assert worst < TOLERANCE, (name, subject, set_name, worst)
            reported = report[subject]["multiple_choice"][index]
            for their_name, our_name in ACCURACIES.items():
                assert abs(reported[our_name] - accuracies[their_name]) < 1e-12, (set_name, our_name, reported, accuracies)
            shown = ", ".join(f"{metric} {accuracy:.3f}" for metric, accuracy in accuracies.items())
            print(f"{name} {subject} {set_name}: {len(ours)} items, {shown}; log-likelihoods within {worst:.1e}", flush=True)


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
