"""Recomputes every output projection that `refine` fits, in float64 on Transformers' own forward passes.

usage: refine_oracle.py <regroup> <logits_tool>

It converts the merged model twice, without refine and with it. Starting from the first result, it solves the
least-squares problems layer by layer from the activations that hooks see in both models; the second result must have
the same weights.
"""

import sys
import tempfile

import torch

from regroup_programs import Programs
from tiny_checkpoints import VARIANTS, make_checkpoint, texts_of, write_text
from transformers_checks import load, token_windows

LENGTH, SEQUENCES, RIDGE = 48, 24, 1e-3
# Tolerance relative to the change by the fit: the trainer runs its forward passes in float32.
TOLERANCE = 2e-4
# Relative rounding of the weights in the checkpoint.
ROUNDING = {torch.float32: 1e-7, torch.float16: 5e-4, torch.bfloat16: 4e-3}

# checkpoint, KV heads, method, ranks
JOBS = [
    ("plain", 2, "procrustes", 1),
    ("plain", 4, "principal", 2),
    ("wide-biased", 2, "procrustes", 1),
    ("grouped-old-style", 2, "principal", 1),
    ("tied-biased", 1, "none", 1),
]  # fmt: skip


class Seen:
    """Inputs and outputs of one layer and of its output projection in a forward pass over all windows, a row per token."""

    def __init__(self, model, layer, windows):
        block = model.model.layers[layer]
        self.inputs, self.outputs = {}, {}
        parts = {"layer": block, "o": block.self_attn.o_proj}
        hooks = [part.register_forward_hook(self.keeper(name)) for name, part in parts.items()]
        with torch.no_grad():
            model(windows)
        for hook in hooks:
            hook.remove()

    def keeper(self, name):
        def keep(_, inputs, output):
            self.inputs[name] = inputs[0].flatten(0, 1)
            self.outputs[name] = (output[0] if isinstance(output, tuple) else output).flatten(0, 1)

        return keep


def fit(inputs, targets, old):
    """Solves targets ~ inputs W^T for W, regularised towards `old`."""
    moment = inputs.T @ inputs
    ridge = RIDGE * moment.diagonal().mean()
    return torch.linalg.solve(moment + ridge * torch.eye(len(moment)), inputs.T @ targets + ridge * old.T).T


def without_bias(targets, linear):
    return targets if linear.bias is None else targets - linear.bias


def refine(source_model, model, windows):
    """Fits the merged model in place."""
    for layer, block in enumerate(model.model.layers):
        source, merged, output = Seen(source_model, layer, windows), Seen(model, layer, windows), block.self_attn.o_proj
        target = source.outputs["o"] + source.inputs["layer"] - merged.inputs["layer"]
        output.weight.data = fit(merged.inputs["o"], without_bias(target, output), output.weight)


def difference(ours, expected, before):
    """Distance between the two fits, and how far the fit has moved the weight; both relative to the weight."""
    return ((ours - expected).norm() / before.norm()).item(), ((expected - before).norm() / before.norm()).item()


def run_job(programs, work, train, number, job):
    name, kv_heads, method, ranks = job
    settings = {"calibration": {"data": train, "sequences": SEQUENCES, "sequence_length": LENGTH, "ranks": ranks},
                "alignment": {"method": method}, "finetune": {"method": "none"}}  # fmt: skip
    source_folder = f"{work}/{name}"
    plain, refined = (programs.convert(work, f"job-{number}-{kind}", source_folder, kv_heads,
                                       refine={"outputs": kind == "refined"}, **settings)
                      for kind in ("merged", "refined"))  # fmt: skip
    model, before, ours = (load(folder).double() for folder in (plain, plain, refined))
    refine(load(source_folder).double(), model, token_windows(source_folder, train, LENGTH)[:SEQUENCES])
    worst, moved = 0.0, 0.0
    for layer in range(len(model.model.layers)):
        part = f"model.layers.{layer}.self_attn.o_proj.weight"
        found, change = difference(*(m.get_parameter(part).data for m in (ours, model, before)))
        worst, moved = max(worst, found), max(moved, change)
        limit = TOLERANCE * change + ROUNDING[VARIANTS[name][0]] * (1 + change)
        assert found < limit, (name, part, found, change)
    assert moved > 0.05, (name, "nothing was fitted", moved)
    print(f"{name}, {kv_heads} KV heads by {method}: weights moved by up to {moved:.2f}, the fit is within {worst:.1e} of "
          "float64", flush=True)  # fmt: skip


def main():
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    programs = Programs(sys.argv[1], sys.argv[2])
    with tempfile.TemporaryDirectory() as work:
        train = f"{work}/train.jsonl"
        write_text(train, 300, seed=1)
        torch.set_default_dtype(torch.float32)
        for name in {job[0] for job in JOBS}:
            make_checkpoint(work, name, texts_of(train))
        torch.set_default_dtype(torch.float64)
        for number, job in enumerate(JOBS):
            run_job(programs, work, train, number, job)


if __name__ == "__main__":
    main()
