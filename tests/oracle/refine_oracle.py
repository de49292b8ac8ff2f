"""Every projection that `refine` fits, computed again in float64 on Transformers' own forward passes.

usage: refine_oracle.py <regroup> <logits_tool>

The merged model is converted twice, without refine and with it. Starting from the first, the least-squares problems are
solved here, layer by layer, from what hooks see in both models; the second must have the same weights.
"""

import sys
import tempfile

import safetensors.torch
import torch

from regroup_programs import Programs
from tiny_checkpoints import VARIANTS, make_checkpoint, texts_of, write_text
from transformers_checks import load, token_windows

LENGTH, SEQUENCES, RIDGE = 48, 24, 1e-3
# The trainer runs its forward passes in float32; of what the fit has changed.
TOLERANCE = 2e-4
# Of the weights in the checkpoint.
ROUNDING = {torch.float32: 1e-7, torch.float16: 5e-4, torch.bfloat16: 4e-3}

# checkpoint, KV heads, method, ranks, what is fitted
JOBS = [
    ("plain", 2, "procrustes", 1, {"outputs": True}),
    ("plain", 4, "principal", 2, {"outputs": True, "queries": True, "feed_forward": True}),
    ("wide-biased", 2, "procrustes", 1, {"outputs": True, "queries": True}),
    ("grouped-old-style", 2, "principal", 1, {"outputs": True, "queries": True, "feed_forward": True}),
    ("tied-biased", 1, "none", 1, {"outputs": True, "feed_forward": True}),
]  # fmt: skip


class Seen:
    """What the parts of one layer read and gave in a forward pass over all windows, as rows of tokens."""

    def __init__(self, model, layer, windows):
        block = model.model.layers[layer]
        self.inputs, self.outputs = {}, {}
        parts = {"layer": block, "middle": block.post_attention_layernorm, "q": block.self_attn.q_proj,
                 "k": block.self_attn.k_proj, "o": block.self_attn.o_proj, "down": block.mlp.down_proj}  # fmt: skip
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
    """W of targets ~ inputs W^T, drawn to `old` where the inputs say little."""
    moment = inputs.T @ inputs
    ridge = RIDGE * moment.diagonal().mean()
    return torch.linalg.solve(moment + ridge * torch.eye(len(moment)), inputs.T @ targets + ridge * old.T).T


def without_bias(targets, linear):
    return targets if linear.bias is None else targets - linear.bias


def complex_heads(rows, width):
    """[tokens, heads, pairs] of Transformers' LLaMA, whose pairs are (t, t + width / 2)."""
    heads = rows.unflatten(1, (-1, width))
    return torch.complex(heads[..., : width // 2], heads[..., width // 2 :])


def fit_queries(source, merged, linear, width, groups, queries_per_head):
    """The query projection that gives the source's logits from the shared keys; `groups` of KV heads."""
    keys, shared = complex_heads(source.outputs["k"], width), complex_heads(merged.outputs["k"], width)
    queries = complex_heads(source.outputs["q"], width)
    targets = []
    for group, heads in enumerate(groups):
        for head in heads:
            alpha = (shared[:, group].conj() * keys[:, head]).sum(0) / shared[:, group].abs().square().sum(0)
            for query in range(head * queries_per_head, (head + 1) * queries_per_head):
                target = alpha.conj() * queries[:, query]
                targets.append(torch.cat([target.real, target.imag], 1))
    targets, inputs = torch.cat(targets, 1), merged.inputs["q"]
    if linear.bias is None:
        return fit(inputs, targets, linear.weight), None
    ones = torch.ones(len(inputs), 1)
    fitted = fit(torch.cat([inputs, ones], 1), targets, torch.cat([linear.weight, linear.bias[:, None]], 1))
    return fitted[:, :-1], fitted[:, -1]


def refine(source_model, model, windows, alignment, what):
    """Fits the merged model in place."""
    config = source_model.config
    per_head = config.num_attention_heads // config.num_key_value_heads
    for layer, block in enumerate(model.model.layers):
        source = Seen(source_model, layer, windows)
        attention = block.self_attn
        if what.get("queries"):
            groups = alignment[f"layers.{layer}.groups"].tolist()
            weight, bias = fit_queries(source, Seen(model, layer, windows), attention.q_proj, attention.head_dim, groups,
                                       per_head)  # fmt: skip
            attention.q_proj.weight.data = weight
            if bias is not None:
                attention.q_proj.bias.data = bias
        merged = Seen(model, layer, windows)
        target = source.outputs["o"] + source.inputs["layer"] - merged.inputs["layer"]
        attention.o_proj.weight.data = fit(merged.inputs["o"], without_bias(target, attention.o_proj),
                                           attention.o_proj.weight)  # fmt: skip
        if what.get("feed_forward"):
            down, merged = block.mlp.down_proj, Seen(model, layer, windows)
            target = source.outputs["down"] + source.inputs["middle"] - merged.inputs["middle"]
            down.weight.data = fit(merged.inputs["down"], without_bias(target, down), down.weight)


def difference(ours, expected, before):
    """Of the two fits, and how far the fit has moved the weight; both relative to the weight."""
    return ((ours - expected).norm() / before.norm()).item(), ((expected - before).norm() / before.norm()).item()


def run_job(programs, work, train, number, job):
    name, kv_heads, method, ranks, what = job
    settings = {"calibration": {"data": train, "sequences": SEQUENCES, "sequence_length": LENGTH, "ranks": ranks},
                "alignment": {"method": method}, "finetune": {"method": "none"}}  # fmt: skip
    source_folder = f"{work}/{name}"
    plain = programs.convert(work, f"job-{number}-merged", source_folder, kv_heads, refine={"outputs": False}, **settings)
    refined = programs.convert(work, f"job-{number}-refined", source_folder, kv_heads, refine=what, **settings)
    alignment = safetensors.torch.load_file(f"{plain}/regroup/alignment.safetensors")
    windows = token_windows(source_folder, train, LENGTH)[:SEQUENCES]
    model, before, ours = (load(folder).double() for folder in (plain, plain, refined))
    refine(load(source_folder).double(), model, windows, alignment, what)
    worst, moved = 0.0, 0.0
    for layer, block in enumerate(model.model.layers):
        parts = ["self_attn.o_proj.weight"]
        if what.get("queries"):
            parts += ["self_attn.q_proj.weight"] + ["self_attn.q_proj.bias"] * (block.self_attn.q_proj.bias is not None)
        if what.get("feed_forward"):
            parts.append("mlp.down_proj.weight")
        for part in parts:
            found, change = difference(*(m.model.layers[layer].get_parameter(part).data for m in (ours, model, before)))
            worst, moved = max(worst, found), max(moved, change)
            # Queries of the first layer may stay: `principal` has them right already.
            limit = TOLERANCE * max(change, 1e-2) + ROUNDING[VARIANTS[name][0]] * (1 + change)
            assert found < limit, (name, layer, part, found, change)
    assert moved > 0.05, (name, "nothing was fitted", moved)
    print(f"{name}, {kv_heads} KV heads by {method}, {' + '.join(what)}: weights moved by up to {moved:.2f}, the fits are "
          f"within {worst:.1e} of float64", flush=True)  # fmt: skip


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
