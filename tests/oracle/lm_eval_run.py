"""Runs the command of trainer/eval/README.md for lm-evaluation-harness, and compares what it measures with a report."""

import glob
import json
import os
import subprocess
import sys
import tempfile

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Absolute, and relative for long choices, whose log-likelihoods are sums of many numbers.
TOLERANCE, RELATIVE = 1e-4, 2e-6
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


def compare(title, model, data, task, reported, work):
    """Compares a model's figures on a set. `task` is the folder of `evaluate` with its log-likelihoods, `reported` the set in
    the report. Prints the accuracies."""
    accuracies, theirs = their_results(model, data, work)
    with open(f"{task}/choices-{reported['name']}.json") as file:
        ours = [item["log_likelihoods"] for item in json.load(file)]
    pairs = [pair for own, other in zip(ours, theirs, strict=True) for pair in zip(own, other, strict=True)]
    worst = max(abs(a - b) for a, b in pairs)
    assert all(abs(a - b) < TOLERANCE + RELATIVE * abs(b) for a, b in pairs), (title, reported["name"], worst)
    for their_name, our_name in ACCURACIES.items():
        assert abs(reported[our_name] - accuracies[their_name]) < 1e-12, (title, our_name, reported, accuracies)
    shown = ", ".join(f"{metric} {accuracy:.3f}" for metric, accuracy in accuracies.items())
    print(f"{title} {reported['name']}: {len(ours)} items, {shown}; log-likelihoods within {worst:.1e}", flush=True)
