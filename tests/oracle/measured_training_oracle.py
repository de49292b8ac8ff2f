"""Compares the perplexity that training measures after its last step with that of Transformers, on the same windows of the
text, for the model that the job published.

usage: measured_training_oracle.py <regroup> <logits_tool> <source folder> [trained models' folder]
"""

import sys
import tempfile

import torch

from regroup_programs import Programs, report_of
from trained_models import trained_models
from transformers_checks import in_float32, load, perplexity_of, token_windows

LENGTH, WINDOWS, STEPS = 64, 5, 6
TRAININGS = {
    "direct": {"method": "direct"},
    "gates": {"method": "l0"},
    "two-ranks": {"method": "direct", "ranks": 2},
    "slices": {"method": "direct", "ranks": 2, "shard": "all"},
    "slices-gates": {"method": "l0", "ranks": 2, "shard": "all"},
    "lora": {"method": "direct", "train": "lora"},
}


def check(programs, trained, name, training):
    with tempfile.TemporaryDirectory() as work:
        finetune = {"steps": STEPS, "batch_sequences": 2, "sequence_length": 32, "learning_rate": 1e-3,
                    "precision": "float32", "evaluate_every_steps": 4, "evaluate_windows": WINDOWS, **training}  # fmt: skip
        folder = programs.convert(work, name, trained.folder, 2,
                                  calibration={"data": trained.train, "sequences": 8, "sequence_length": LENGTH},
                                  finetune=finetune,
                                  evaluation={"perplexity": {"data": trained.valid, "sequence_length": LENGTH,
                                                             "max_windows": 16}})  # fmt: skip
        curve = report_of(folder)["curves"]["validation_perplexity"]
        assert [step for step, _ in curve] == [4, STEPS], curve
        expected = perplexity_of(load(folder), token_windows(trained.folder, trained.valid, LENGTH)[:WINDOWS])
        measured = curve[-1][1]
        assert abs(measured / expected - 1) < 1e-4, (name, measured, expected)
        print(f"{name}: measured {measured:.4f}, Transformers {expected:.4f}", flush=True)


def main():
    regroup, logits_tool, source, *_ = sys.argv[1:]
    torch.set_num_threads(1)
    [trained] = trained_models(source, [])
    with tempfile.TemporaryDirectory() as work:
        trained = in_float32(trained, f"{work}/source")
        for name, training in TRAININGS.items():
            check(Programs(regroup, logits_tool), trained, name, training)
    print("measurements during training agree with Transformers")


main()
