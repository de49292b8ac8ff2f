"""Compares layerwise distillation, with and without training afterwards, with training alone and with the paper's recipe.

    python3 tests/bench/layerwise_arms.py [--seeds 0,1,2] [--kv-heads 4,2,1] [--windows 0] [--model FOLDER --texts FOLDER]

Every arm reads the same number of sequences. One job for each arm and seed sweeps over the numbers of KV heads; the
rates are the best of at least three for each arm. Prints the table of trainer/layerwise/README.md. A job takes some
minutes."""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

import trained_model


def folder(path):
    return pathlib.Path(path).resolve()


def numbers(text):
    return [int(number) for number in text.split(",")]


# Settings of each arm: alignment, layerwise, the trainings of its job, steps of training, and their learning rate.
ARMS = {
    "direct": ("principal", "none", ["direct"], 300, 2.5e-4),
    "layerwise": ("principal", "distill", ["none", "direct"], 300, 6e-5),
    "paper": ("procrustes", "none", ["l0"], 300, 5e-4),
    # As many sequences as layerwise and direct read together: its two local passes, and 300 steps.
    "paper 900 steps": ("procrustes", "none", ["l0"], 900, 5e-4),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=folder, default=trained_model.ROOT / "build/release/bin")
    parser.add_argument("--model", type=folder, default=trained_model.MODEL)
    parser.add_argument("--texts", type=folder, default=trained_model.TEXTS, help="train.jsonl, valid.jsonl")
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--kv-heads", type=numbers, default=[4, 2, 1])
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--sequences", type=int, default=600, help="for each layer")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--layerwise-rate", type=float, help="default: the product's rule")
    parser.add_argument("--rate", type=float, help="of training; default: the arm's best")
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--windows", type=int, default=0, help="maximum number of windows to measure; 0: all")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def job(arguments, arm, seed):
    alignment, layerwise, trainings, steps, rate = ARMS[arm]
    train, length = str(arguments.texts / "train.jsonl"), arguments.sequence_length
    local = {"method": layerwise, "data": train, "sequences": arguments.sequences, "passes": arguments.passes,
             "sequence_length": length, "seed": seed}
    if arguments.layerwise_rate:
        local["learning_rate"] = arguments.layerwise_rate
    return {"name": "arms", "source": {"checkpoint": str(arguments.model)},
            "sweep": {"kv_heads": arguments.kv_heads, "finetune": trainings},
            "calibration": {"data": train, "sequences": 96, "sequence_length": length},
            "alignment": {"method": alignment}, "layerwise": local,
            "finetune": {"data": train, "steps": steps, "batch_sequences": 2, "micro_batch_sequences": 2,
                         "sequence_length": length, "learning_rate": arguments.rate or rate, "seed": seed,
                         "checkpoint_every_steps": 0},
            "evaluation": {"perplexity": {"data": str(arguments.texts / "valid.jsonl"), "sequence_length": length,
                                          "max_windows": arguments.windows}}}


def run(arguments, arm, seed):
    """Returns the source's perplexity, that of each (training, KV heads), and the seconds of each stage."""
    with tempfile.TemporaryDirectory() as place:
        file = pathlib.Path(place) / "job.yaml"
        file.write_text(json.dumps(job(arguments, arm, seed)))
        subprocess.run([arguments.programs / "regroup", "run", file, "--work-dir", f"{place}/work", "--workers",
                        str(arguments.workers), "--slots", "1"], check=True, stdout=subprocess.DEVNULL)
        [report] = pathlib.Path(place).glob("work/jobs/*/report/*/out/report.json")
        report = json.loads(report.read_text())
    found = {(row["finetune"], row["kv_heads"]): row["result"]["perplexity"] for row in report["rows"]}
    return report["source"]["perplexity"], found, {stage["name"]: stage["seconds"] for stage in report["stages"]}


def main():
    arguments = parse_arguments()
    print(f"| arm | {' | '.join(f'{heads} KV heads' for heads in arguments.kv_heads)} | seconds of the jobs' stages |")
    print("|---" * (len(arguments.kv_heads) + 2) + "|")
    for arm in arguments.arms:
        runs = [run(arguments, arm, seed) for seed in arguments.seeds]
        seconds = {name: round(statistics.mean(run[2][name] for run in runs)) for name in runs[0][2]
                   if name in ("record", "layerwise", "finetune")}
        for training in ARMS[arm][2]:
            cells = []
            for heads in arguments.kv_heads:
                excess = [found[training, heads] - source for source, found, _ in runs]
                cells.append(f"{statistics.mean(excess):.3f} ({', '.join(f'{value:.3f}' for value in excess)})")
            print(f"| {arm} + {training} | {' | '.join(cells)} | {seconds} |", flush=True)
    print(f"\nexcess over the source's perplexity of {runs[0][0]:.3f}; seeds {arguments.seeds}")


if __name__ == "__main__":
    main()
