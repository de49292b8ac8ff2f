"""Shared parts of the training benchmarks: the models, one batch that both sides read, and Regroup's own loop."""

import json
import os
import statistics
import subprocess

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import trained_model

ROOT = trained_model.ROOT
SMALL_MODEL = trained_model.MODEL
WIDE = {"hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 16,
        "head_dim": 64, "intermediate_size": 2816, "vocab_size": 32000, "max_position_embeddings": 2048,
        "tie_word_embeddings": False}
# Largest relative difference of one step's loss.
TOLERANCE = {"float32": 2e-4, "bfloat16": 3e-2}


def write_wide_model(folder, dtype=torch.float32, **changes):
    """Writes a random LLaMA, by default of width 1024 x 4 layers with LLaMA-2's vocabulary."""
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**{**WIDE, **changes}, rope_theta=10000.0)).to(dtype).save_pretrained(folder)
    return folder


def vocabulary_of(model):
    return json.loads((model / "config.json").read_text())["vocab_size"]


def write_batch(file, sequences, sequence_length, vocabulary):
    """Writes one window of random ids per line, as train_steps reads it; returns [sequences, sequence_length]."""
    batch = torch.randint(3, vocabulary, (sequences, sequence_length), generator=torch.Generator().manual_seed(7))
    with open(file, "w") as stream:
        for row in batch.tolist():
            stream.write(json.dumps({"text": " ".join(map(str, row))}) + "\n")
    return batch


def write_windows(file, windows):
    """Writes texts of ids, one per line, window after window."""
    with open(file, "w") as stream:
        for texts in windows:
            for ids in texts:
                stream.write(json.dumps({"text": " ".join(map(str, ids))}) + "\n")


def run_product(program, curves, threads, options, mpirun=()):
    """Runs train_steps; returns the figures of its steps, one dictionary each."""
    curves.unlink(missing_ok=True)
    command = [*mpirun, str(program), "--curves", str(curves)]
    for name, value in options.items():
        command += ["--" + name, str(value)]
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMPI_MCA_mpi_yield_when_idle="1",
                       OMPI_MCA_btl_vader_single_copy_mechanism="none")
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr}")
    # Other lines have figures of gates and ranks.
    return [row for row in map(json.loads, open(curves)) if "loss" in row]


def check_losses(ours, theirs, dtype):
    """Prints both sides' losses of every step; ends the benchmark if they are not the same computation."""
    for step, (mine, other) in enumerate(zip(ours, theirs)):
        difference = abs(mine["loss"] - other["loss"]) / abs(other["loss"])
        print(f"  step {step}: loss {mine['loss']:.6f} Regroup, {other['loss']:.6f} Transformers, "
              f"relative difference {difference:.1e}")
        if difference > TOLERANCE[dtype]:
            raise SystemExit(f"the losses differ by more than {TOLERANCE[dtype]}: not the same computation")


def step_seconds(steps):
    """Returns the seconds of each step, without the first one, which warms up."""
    return [step["step_seconds"] for step in steps[1:]]


def spread(values):
    return f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})"


def machine():
    with open("/proc/cpuinfo") as stream:
        name = next((line.split(":")[1].strip() for line in stream if line.startswith("model name")), "unknown")
    return f"{os.cpu_count()} x {name}, load {os.getloadavg()[0]:.1f}"
