#!/usr/bin/env python3
"""Converts a model with `regroup run` and prints a row of a table: perplexities, their ratio, accuracies on sets of
multiple-choice questions (acc_norm of lm-evaluation-harness), seconds of every stage.

    build/venv/bin/python tests/real_model/convert.py MODEL TEXT OUT --kv-heads 1
        [--programs build/release/bin] [--layerwise-sequences 512] [--finetune-steps 1000] [--max-ratio 1.001] ...

MODEL is a Hugging Face folder, TEXT a folder with train.jsonl and valid.jsonl, OUT a folder that gets job.yaml, the work
folder and the converted model. Heads are aligned by `principal`. Layerwise distillation and training of the whole model
run if their numbers are given; the outputs are refitted unless one of them runs. The same command with an existing OUT
resumes; after it has finished, it prints the row again.
"""

import argparse
import json
import pathlib
import subprocess
import sys

# Models in report.json in the order of the conversion. One that is the result is reported only as the result.
SUBJECTS = ("source", "averaged", "aligned", "layerwise", "result")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--kv-heads", type=int, required=True)
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--slots", type=int, default=1, help="tasks of layers that run side by side")
    parser.add_argument("--sequence-length", type=int, default=512, help="of calibration, training and evaluation")
    parser.add_argument("--windows", type=int, default=0, help="windows to measure; 0 measures all")
    parser.add_argument("--calibration-sequences", type=int, default=128)
    parser.add_argument("--refine", choices=("yes", "no"), help="default: yes if nothing is trained")
    parser.add_argument("--layerwise-sequences", type=int, default=0, help="0 leaves layerwise distillation out")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of both trainings")
    parser.add_argument("--layerwise-passes", type=int, default=2)
    parser.add_argument("--layerwise-rate", type=float, help="default: Regroup's own")
    parser.add_argument("--finetune-steps", type=int, default=0, help="0 leaves the training of the whole model out")
    parser.add_argument("--finetune-batch", type=int, default=8, help="sequences in a step")
    parser.add_argument("--finetune-rate", type=float, help="default: Regroup's own")
    parser.add_argument("--choices", type=pathlib.Path, nargs="+", default=[], metavar="FILE",
                        help="multiple-choice questions to answer too (trainer/eval/README.md)")
    parser.add_argument("--max-ratio", type=float, help="fail if the perplexity grows by a larger factor")
    return parser.parse_args()


def layerwise(arguments):
    settings = {"method": "distill", "sequences": arguments.layerwise_sequences, "passes": arguments.layerwise_passes,
                "sequence_length": arguments.sequence_length, "precision": arguments.precision}
    if arguments.layerwise_rate is not None:
        settings["learning_rate"] = arguments.layerwise_rate
    return settings


def finetune(arguments):
    if arguments.finetune_steps == 0:
        return {"method": "none"}
    settings = {"method": "direct", "steps": arguments.finetune_steps, "batch_sequences": arguments.finetune_batch,
                "sequence_length": arguments.sequence_length, "precision": arguments.precision}
    if arguments.finetune_rate is not None:
        settings["learning_rate"] = arguments.finetune_rate
    return settings


def job(arguments):
    """Returns the job file. Without layerwise distillation it has no key that older programs do not know."""
    train, valid = (str((arguments.text / name).resolve()) for name in ("train.jsonl", "valid.jsonl"))
    trains = arguments.layerwise_sequences > 0 or arguments.finetune_steps > 0
    settings = {
        "name": "real-model",
        "source": {"checkpoint": str(arguments.model.resolve())},
        "target": {"kv_heads": arguments.kv_heads},
        "calibration": {"data": train, "sequences": arguments.calibration_sequences,
                        "sequence_length": arguments.sequence_length},
        "alignment": {"method": "principal"},
        "refine": {"outputs": not trains if arguments.refine is None else arguments.refine == "yes"},
        "finetune": finetune(arguments),
        "evaluation": {"perplexity": {"data": valid, "sequence_length": arguments.sequence_length,
                                      "max_windows": arguments.windows}},
        "output": {"checkpoint": str((arguments.out / "model").resolve())},
    }
    if arguments.layerwise_sequences > 0:
        settings["layerwise"] = layerwise(arguments)
    if arguments.choices:
        settings["evaluation"]["multiple_choice"] = [{"name": file.stem, "data": str(file.resolve())}
                                                     for file in arguments.choices]
    if arguments.max_ratio is not None:
        settings["gates"] = {"max_perplexity_ratio": arguments.max_ratio}
    return settings


def run(arguments):
    """Writes the job file and runs it. Exits with the program's exit status if the job fails."""
    text = json.dumps(job(arguments), indent=1) + "\n"  # JSON is YAML
    file = arguments.out / "job.yaml"
    if file.exists() and file.read_text() != text:
        sys.exit(f"convert: {file} is another job; give another OUT")
    arguments.out.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if not (arguments.out / "model").exists():
        done = subprocess.run([arguments.programs / "regroup", "run", file, "--work-dir", arguments.out / "work",
                               "--slots", str(arguments.slots)], stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(done.returncode)


def row(report):
    """Returns the titles and the cells of a report's row."""
    perplexities = [(name, report[name]["perplexity"]) for name in SUBJECTS if "perplexity" in report.get(name, {})]
    figures = dict(perplexities)
    cells = [(title, f"{value:.3f}") for title, value in perplexities]
    cells.append(("result / source", f"{figures['result'] / figures['source']:.4f}"))
    for name in ("source", "result"):
        cells += [(f"{choices['name']}, {name}", f"{choices['accuracy_per_character']:.3f}")
                  for choices in report[name].get("multiple_choice", [])]
    cells += [(f"{stage['name']}, s", f"{stage['seconds']:.0f}") for stage in report["stages"]]
    return [title for title, _ in cells], [cell for _, cell in cells]


def main():
    arguments = parse_arguments()
    run(arguments)
    report = json.loads((arguments.out / "model/regroup/report.json").read_text())
    titles, cells = row(report)
    for line in (titles, ["---"] * len(titles), cells):
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
