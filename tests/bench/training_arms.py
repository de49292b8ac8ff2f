"""Compares the results of all starts and training methods, after the same number of steps, each at its best learning
rate.

    python3 tests/bench/training_arms.py [--steps 300] [--rates 2.5e-4,5e-4,1e-3] [--seeds 1,2] [--model FOLDER --texts FOLDER]

It runs one sweep per rate with seed 0, then every arm again with the other seeds at its best rate. Prints the
table of trainer/alignment/README.md ("After equal training"). An arm takes some minutes."""

import argparse
import json
import pathlib
import subprocess
import tempfile

import trained_model



def folder(path):
    return pathlib.Path(path).resolve()


def numbers(kind):
    return lambda text: [kind(number) for number in text.split(",")] if text else []


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=folder, default=trained_model.ROOT / "build/release/bin")
    parser.add_argument("--model", type=folder, default=trained_model.MODEL)
    parser.add_argument("--texts", type=folder, default=trained_model.TEXTS, help="train.jsonl, valid.jsonl")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--alignments", type=numbers(str), default=["none", "procrustes", "principal"])
    parser.add_argument("--trainings", type=numbers(str), default=["direct", "l0"])
    parser.add_argument("--refine", action="store_true", help="also refit the outputs before training")
    parser.add_argument("--rates", type=numbers(float), default=[2.5e-4, 5e-4, 1e-3])
    parser.add_argument("--seeds", type=numbers(int), default=[1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--sequences", type=int, default=2, help="sequences of a step")
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--calibration-sequences", type=int, default=94)
    parser.add_argument("--windows", type=int, default=0, help="maximum number of windows to measure; 0: all")
    return parser.parse_args()


def job(arguments, rate, seed, alignments, trainings):
    train, length = str(arguments.texts / "train.jsonl"), arguments.sequence_length
    return {"name": "arms", "source": {"checkpoint": str(arguments.model)},
            "sweep": {"kv_heads": [arguments.kv_heads], "alignment": alignments, "finetune": trainings,
                      "refine": [arguments.refine]},
            "calibration": {"data": train, "sequences": arguments.calibration_sequences, "sequence_length": length},
            "finetune": {"data": train, "steps": arguments.steps, "batch_sequences": arguments.sequences,
                         "micro_batch_sequences": arguments.sequences, "sequence_length": length,
                         "learning_rate": rate, "seed": seed, "checkpoint_every_steps": 0},
            "evaluation": {"perplexity": {"data": str(arguments.texts / "valid.jsonl"), "sequence_length": length,
                                          "max_windows": arguments.windows}}}


def run(arguments, rate, seed, alignments, trainings):
    """Returns the source's perplexity, and that of each (alignment, training)."""
    with tempfile.TemporaryDirectory() as place:
        file = pathlib.Path(place) / "job.yaml"
        file.write_text(json.dumps(job(arguments, rate, seed, alignments, trainings)))
        subprocess.run([arguments.programs / "regroup", "run", file, "--work-dir", f"{place}/work", "--slots", "2"],
                       check=True, stdout=subprocess.DEVNULL)
        [report] = pathlib.Path(place).glob("work/jobs/*/report/*/out/report.json")
        report = json.loads(report.read_text())
    arms = {(row["alignment"], row["finetune"]): row["result"]["perplexity"] for row in report["rows"]}
    return report["source"]["perplexity"], arms


def main():
    arguments = parse_arguments()
    by_rate = {}
    for rate in arguments.rates:
        source, by_rate[rate] = run(arguments, rate, 0, arguments.alignments, arguments.trainings)
        print(f"rate {rate:g}:", {" + ".join(arm): round(value, 2) for arm, value in by_rate[rate].items()}, flush=True)
    print(f"\nsource {source:.2f}\n\n| arm | {' | '.join(f'{rate:g}' for rate in arguments.rates)} | other seeds at the best | excess |")
    print("|---" * (len(arguments.rates) + 3) + "|")
    for alignment in arguments.alignments:
        for training in arguments.trainings:
            arm = (alignment, training)
            best = min(arguments.rates, key=lambda rate: by_rate[rate][arm])
            others = [run(arguments, best, seed, [alignment], [training])[1][arm] for seed in arguments.seeds]
            found = [by_rate[best][arm], *others]
            cells = [f"`{alignment}` + `{training}`", *(f"{by_rate[rate][arm]:.2f}" for rate in arguments.rates),
                     ", ".join(f"{value:.2f}" for value in others), f"{sum(found) / len(found) - source:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
