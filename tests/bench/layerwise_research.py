#!/usr/bin/env python3
"""Trains merged attention layers with PyTorch and Transformers in other ways than the product does, and compares them.

    build/venv/bin/python tests/bench/layerwise_research.py [--recipes "plain|keys first"] [--kv-heads 2] [--sequences 600]
        [--eval-windows 200] [--model FOLDER --texts FOLDER]

The merged model comes from the product (`principal`, nothing trained). For every recipe the script trains the layers,
puts them into the model and measures its perplexity, and prints a row of the tables in trainer/layerwise/README.md:
mean error of the layers (L_out on 16 windows that were not trained on), excess perplexity, seconds. It is an
implementation of the equations of its own, which also checks the product's. Models of the LLaMA kind only, in float32.
"""

import argparse
import contextlib
import copy
import dataclasses
import itertools
import json
import math
import pathlib
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import trained_model

HELD_OUT = 16


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How layers are trained; the defaults are the product's."""
    passes: int = 2
    rate: float = 0  # 0: 4e-3 sqrt(256 / hidden size)
    batch: int = 2
    map_weight: float = 1
    map_share: float = 0.4
    # Residual stream before the layer: of the source, or of the student's layers trained so far. Target: the source's
    # attention output, or ("correct") what brings the student's stream back to the source's.
    inputs: str = "source"
    correct: bool = False
    feed_forward: bool = False  # train it too, on the block's output
    span: int = 1  # layers that are trained together, on their own stream
    ema: float = 0
    # Share of the steps in which only queries and keys are trained ("keys"), or only values and outputs ("values").
    first: str = ""
    first_share: float = 0.3
    solve: int = 0  # sweeps of alternating least squares for values and outputs before the training
    # Training of the whole model afterwards.
    global_steps: int = 0
    global_rate: float = 6e-5
    attention_weight: float = 0  # of L_out on the student's own stream, summed over layers
    attention_share: float = 1  # of the steps


RECIPES = {
    "plain": Recipe(),
    "start": Recipe(passes=0),
    "no map": Recipe(map_weight=0),
    "map all the time": Recipe(map_share=1),
    "map 0.3": Recipe(map_weight=0.3),
    "map 3": Recipe(map_weight=3),
    "batch 1": Recipe(batch=1, rate=2.8e-3),
    "batch 4": Recipe(batch=4, rate=5.6e-3),
    "student's inputs": Recipe(inputs="student"),
    "correcting": Recipe(inputs="student", correct=True),
    "with feed-forward": Recipe(feed_forward=True),
    "student's inputs with feed-forward": Recipe(inputs="student", correct=True, feed_forward=True),
    "2 layers together": Recipe(span=2),
    "3 layers together": Recipe(span=3),
    "average of weights": Recipe(ema=0.98),
    "keys first": Recipe(first="keys"),
    "values first": Recipe(first="values"),
    "least squares first": Recipe(solve=3),
    "least squares alone": Recipe(solve=3, passes=0),
    "1 pass": Recipe(passes=1),
    "4 passes": Recipe(passes=4),
    "8 passes": Recipe(passes=8),
    "then global": Recipe(global_steps=300),
    "then global + attention 0.1": Recipe(global_steps=300, attention_weight=0.1),
    "then global + attention 0.3": Recipe(global_steps=300, attention_weight=0.3),
    "then global + attention 1": Recipe(global_steps=300, attention_weight=1),
    "correcting, then global": Recipe(inputs="student", correct=True, global_steps=300),
    "2 layers together, then global": Recipe(span=2, global_steps=300),
    "then global at 1.2e-4": Recipe(global_steps=300, global_rate=1.2e-4),
    "then global at 1.2e-4 + attention 0.3": Recipe(global_steps=300, global_rate=1.2e-4, attention_weight=0.3),
}


def folder(path):
    return pathlib.Path(path).resolve()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=folder, default=trained_model.ROOT / "build/release/bin")
    parser.add_argument("--model", type=folder, default=trained_model.MODEL)
    parser.add_argument("--texts", type=folder, default=trained_model.TEXTS, help="train.jsonl, valid.jsonl")
    parser.add_argument("--recipes", type=lambda text: text.split("|"), default=["plain"], metavar="NAME|NAME")
    parser.add_argument("--rates", type=lambda text: [float(rate) for rate in text.split(",")], default=[0.0])
    parser.add_argument("--layers", type=lambda text: [int(layer) for layer in text.split(",")], help="default: all")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=600)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--eval-windows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budgets", action="store_true", help="compare numbers of heads by layer instead of recipes")
    return parser.parse_args()


def windows_of(model, file, length, count):
    """Returns the first windows of the texts as the product cuts them, [count, length]."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    end = json.loads((model / "config.json").read_text())["eos_token_id"]
    tokens = []
    with open(file) as lines:
        for line in lines:
            tokens += [*tokenizer.encode(json.loads(line)["text"]).ids, end]
            if len(tokens) >= count * length:
                break
    count = min(count, len(tokens) // length)
    return torch.tensor(tokens[:count * length]).view(count, length)


def merge(arguments, kv_heads):
    """Converts with the product. Returns the merged model and, by layer, the source's query head at each place."""
    with tempfile.TemporaryDirectory() as place:
        model, order = merge_in(arguments, kv_heads, pathlib.Path(place))
    return model.requires_grad_(False), order


def merge_in(arguments, kv_heads, place):
    job = {"name": "research", "source": {"checkpoint": str(arguments.model)}, "target": {"kv_heads": kv_heads},
           "calibration": {"data": str(arguments.texts / "train.jsonl"), "sequences": 96,
                           "sequence_length": arguments.sequence_length},
           "alignment": {"method": "principal"}, "refine": {"outputs": False}, "finetune": {"method": "none"},
           "output": {"checkpoint": str(place / "model")}}
    (place / "job.yaml").write_text(json.dumps(job))
    subprocess.run([arguments.programs / "regroup", "run", place / "job.yaml", "--work-dir", place / "work"], check=True,
                   stdout=subprocess.DEVNULL)
    layers = json.loads((place / "model/regroup/report.json").read_text())["layers"]
    order = {layer["index"]: [head for group in layer["groups"] for head in group] for layer in layers}
    return AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float32), order


def attend(attention, x, rotary, with_map):
    """Returns the attention's output, and the logarithms of its probabilities [windows, heads, queries, keys]."""
    heads = (*x.shape[:2], -1, attention.head_dim)
    q, k, v = attention.q_proj(x).view(heads), attention.k_proj(x).view(heads), attention.v_proj(x).view(heads)
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    q, k = apply_rotary_pos_emb(q, k, *rotary)
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    if with_map:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(2, 3) * attention.scaling).masked_fill(future, -1e9)
        log_map = scores.log_softmax(-1)
        mixed = log_map.exp() @ v
    else:
        log_map = None
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=attention.scaling)
    return attention.o_proj(mixed.transpose(1, 2).flatten(2)), log_map


def divergence(teacher, student):
    return (teacher.exp() * (teacher - student)).sum(-1).mean()


def in_batches(windows, compute):
    with torch.no_grad():
        return torch.cat([compute(windows[place:place + 8]) for place in range(0, len(windows), 8)])


class Layers:
    """The source's model and the student's, with what the training of layers needs of both."""

    def __init__(self, source, student, order, windows):
        self.source, self.student, self.order, self.tokens = source, student, order, windows
        positions = torch.arange(windows.shape[1])[None]
        self.rotary = source.model.rotary_emb(source.model.embed_tokens.weight[None, :1], positions)
        self.streams = [in_batches(windows, source.model.embed_tokens)]
        self.variances = []
        for layer in source.model.layers:
            branch = in_batches(self.streams[-1], lambda r: self.branch(layer, r)[0])
            self.variances.append((branch - branch.mean((0, 1))).square().sum(-1).mean().item())
            self.streams.append(in_batches(self.streams[-1], lambda r: self.block(layer, r)))

    def branch(self, layer, stream, with_map=False):
        return attend(layer.self_attn, layer.input_layernorm(stream), self.rotary, with_map)

    def block(self, layer, stream):
        stream = stream + self.branch(layer, stream)[0]
        return stream + layer.mlp(layer.post_attention_layernorm(stream))

    def error(self, index, inputs, windows):
        ours, theirs = self.student.model.layers[index], self.source.model.layers[index]
        branch = in_batches(inputs[windows], lambda r: self.branch(ours, r)[0])
        target = in_batches(self.streams[index][windows], lambda r: self.branch(theirs, r)[0])
        return (branch - target).square().sum(-1).mean().item() / self.variances[index]

    def loss(self, index, span, recipe, inputs, windows, with_map):
        """Returns the loss of `span` layers that follow each other, on these windows."""
        ours_stream, total = inputs[windows], 0
        for number in range(index, index + span):
            ours, theirs = self.student.model.layers[number], self.source.model.layers[number]
            stream = self.streams[number][windows]
            with torch.no_grad():
                target, theirs_map = self.branch(theirs, stream, with_map)
            branch, ours_map = self.branch(ours, ours_stream, with_map)
            difference = branch - target
            if recipe.correct or span > 1:
                difference = difference + ours_stream - stream
            total = total + difference.square().sum(-1).mean() / self.variances[number]
            if with_map:
                total = total + recipe.map_weight * divergence(theirs_map[:, self.order[number]], ours_map)
            if recipe.feed_forward or span > 1:
                ours_stream = ours_stream + branch
                ours_stream = ours_stream + ours.mlp(ours.post_attention_layernorm(ours_stream))
            if recipe.feed_forward:
                after = self.streams[number + 1][windows]
                total = total + (ours_stream - after).square().sum(-1).mean() / self.variances[number]
        return total


def rate_at(step, steps):
    return min((step + 1) / 10, 1) * (steps - step) / steps


def solve_values_and_outputs(layers, index, windows, sweeps):
    """Alternating least squares: the attention's output is linear in W_o, and in W_v, while its probabilities stand."""
    ours, theirs = layers.student.model.layers[index], layers.source.model.layers[index]
    attention = ours.self_attn
    streams = layers.streams[index][windows]
    target = in_batches(streams, lambda r: layers.branch(theirs, r)[0])
    width, kv = attention.head_dim, attention.v_proj.weight.shape[0] // attention.head_dim
    queries = attention.o_proj.weight.shape[1] // width
    with torch.no_grad():
        for _ in range(sweeps):
            solve_outputs(layers, ours, streams, target)
            # The normal equations of all W_v at once, solved by conjugate gradients with the network as the product.
            solve_values(layers, ours, streams, target, kv, queries // kv, width)
        solve_outputs(layers, ours, streams, target)


def mixed_rows(layers, ours, streams):
    """Returns what o_proj reads, as rows."""
    caught = []
    hook = ours.self_attn.o_proj.register_forward_hook(lambda _, rows, __: caught.append(rows[0].flatten(0, 1)))
    for place in range(0, len(streams), 8):
        layers.branch(ours, streams[place:place + 8])
    hook.remove()
    return torch.cat(caught)


def solve_outputs(layers, ours, streams, target):
    rows = mixed_rows(layers, ours, streams).double()
    gram = rows.T @ rows
    gram += torch.eye(len(gram)) * gram.trace() * 1e-6 / len(gram)
    solution = torch.linalg.solve(gram, rows.T @ target.flatten(0, 1).double())
    ours.self_attn.o_proj.weight.copy_(solution.T)


def solve_values(layers, ours, streams, target, kv, group, width, iterations=12):
    weight = ours.self_attn.v_proj.weight
    start = weight.clone()

    def gradient():
        with torch.enable_grad():
            weight.requires_grad_(True)
            total = 0
            for place in range(0, len(streams), 8):
                difference = layers.branch(ours, streams[place:place + 8])[0] - target[place:place + 8]
                total = total + torch.autograd.grad(difference.square().sum(), weight)[0]
        return total

    residual = -gradient()
    zero_gradient = residual.clone()
    direction, step = residual.clone(), torch.zeros_like(weight)
    for _ in range(iterations):
        weight.copy_(start + direction)
        product = gradient() + zero_gradient
        alpha = (residual * residual).sum() / (direction * product).sum()
        step += alpha * direction
        smaller = residual - alpha * product
        direction = smaller + (smaller * smaller).sum() / (residual * residual).sum() * direction
        residual = smaller
    weight.copy_(start + step)


def trained_parameters(layers, index, recipe, part=""):
    parameters = []
    for number in range(index, index + recipe.span):
        layer = layers.student.model.layers[number]
        for name, parameter in layer.self_attn.named_parameters():
            if part == "keys" and name[0] in "vo" or part == "values" and name[0] in "qk":
                continue
            parameters.append(parameter)
        if recipe.feed_forward:
            parameters += [*layer.mlp.parameters(), *layer.post_attention_layernorm.parameters()]
    return parameters


def train_layer(layers, index, recipe, inputs, windows, seed):
    if recipe.solve:
        solve_values_and_outputs(layers, index, windows, recipe.solve)
    parameters = trained_parameters(layers, index, recipe)
    generator = torch.Generator().manual_seed(seed * 1000 + index)
    order = torch.cat([windows[:0], *(windows[torch.randperm(len(windows), generator=generator)]
                                      for _ in range(recipe.passes))])
    steps = len(order) // recipe.batch
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0)
    averages = [parameter.detach().clone() for parameter in parameters]
    early = {id(parameter) for parameter in trained_parameters(layers, index, recipe, recipe.first)}
    for parameter in parameters:
        parameter.requires_grad_(True)
    for step in range(steps):
        with_map = recipe.map_weight > 0 and step < recipe.map_share * steps
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * rate_at(step, steps)
        batch = order[step * recipe.batch:(step + 1) * recipe.batch]
        layers.loss(index, recipe.span, recipe, inputs, batch, with_map).backward()
        if recipe.first and step < recipe.first_share * steps:
            for parameter in parameters:
                if id(parameter) not in early:
                    parameter.grad = None
        torch.nn.utils.clip_grad_norm_(parameters, 1)
        optimizer.step()
        optimizer.zero_grad()
        if recipe.ema:
            share = min(recipe.ema, step / (step + 10))
            for average, parameter in zip(averages, parameters):
                average.lerp_(parameter.detach(), 1 - share)
    for average, parameter in zip(averages, parameters):
        parameter.requires_grad_(False)
        if recipe.ema:
            parameter.copy_(average)


def train_layers(layers, recipe, windows, held_out, seed, chosen):
    """Trains the layers. Returns each one's error on the source's inputs before and after."""
    inputs, errors = layers.streams[0], []
    for index in range(0, len(layers.variances), recipe.span):
        if recipe.inputs == "source":
            inputs = layers.streams[index]
        if index not in chosen:
            continue
        before = layers.error(index, layers.streams[index], held_out)
        train_layer(layers, index, recipe, inputs, windows, seed)
        errors.append((before, layers.error(index, layers.streams[index], held_out)))
        if recipe.inputs == "student":
            for number in range(index, index + recipe.span):
                inputs = in_batches(inputs, lambda r: layers.block(layers.student.model.layers[number], r))
    return errors


@contextlib.contextmanager
def branches_of(*models):
    """Yields, for each model, a list to which its forward passes append the output of every attention."""
    lists = [[] for _ in models]
    hooks = [layer.self_attn.register_forward_hook(lambda _, __, out, caught=caught: caught.append(out[0]))
             for model, caught in zip(models, lists) for layer in model.model.layers]
    yield lists
    for hook in hooks:
        hook.remove()


def train_globally(layers, recipe, windows, seed):
    source, student = layers.source, layers.student
    parameters = [parameter.requires_grad_(True) for parameter in student.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.global_rate, betas=(0.9, 0.95), weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed + 77)
    order = windows[torch.randperm(len(windows), generator=generator)]
    with branches_of(source, student) as (theirs, ours):
        for step in range(recipe.global_steps):
            theirs.clear()
            ours.clear()
            warm = min(1, (step + 1) / 32)
            for group in optimizer.param_groups:
                decay = 0.5 * (1 + math.cos(math.pi * max(0, step - 32) / recipe.global_steps))
                group["lr"] = recipe.global_rate * warm * decay
            batch = torch.stack([layers.tokens[window] for window in order[(2 * step) % len(order):][:2]])
            with torch.no_grad():
                wanted = source(batch).logits.log_softmax(-1)
            loss = divergence(wanted, student(batch).logits.log_softmax(-1))
            if recipe.attention_weight and step < recipe.attention_share * recipe.global_steps:
                loss = loss + recipe.attention_weight * sum(
                    (a - b).square().sum(-1).mean() / variance for a, b, variance in zip(ours, theirs, layers.variances))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1)
            optimizer.step()
            optimizer.zero_grad()
    for parameter in parameters:
        parameter.requires_grad_(False)


def compose(merged, trained, heads_of_layers):
    """Returns a model with each layer's attention from the model that was trained with that number of KV heads."""
    model = copy.deepcopy(merged)
    for layer, heads in enumerate(heads_of_layers):
        model.model.layers[layer].self_attn = trained[heads].model.layers[layer].self_attn
    return model


def best_budget(costs, total):
    """Returns the heads of each layer with the smallest sum of costs[heads][layer] among those with `total` heads."""
    layers = len(next(iter(costs.values())))
    fitting = (choice for choice in itertools.product(costs, repeat=layers) if sum(choice) == total)
    return min(fitting, key=lambda choice: sum(costs[heads][layer] for layer, heads in enumerate(choice)))


def compare_budgets(arguments, source, tokens, held_out_text, base, rate):
    """Trains the layers with 1, 2 and 4 KV heads each and spends the heads of a uniform model by the errors reached."""
    windows, held_out = torch.arange(len(tokens) - HELD_OUT), torch.arange(len(tokens) - HELD_OUT, len(tokens))
    trained, errors = {}, {}
    for heads in (1, 2, 4):
        merged, order = merge(arguments, heads)
        layers = Layers(source, merged, order, tokens)
        recipe = Recipe(rate=rate)
        trained_errors = train_layers(layers, recipe, windows, held_out, arguments.seed, range(len(order)))
        errors[heads] = [after for _, after in trained_errors]
        trained[heads] = merged
    count = len(errors[1])

    def excess(choice):
        return perplexity(compose(source, trained, choice), held_out_text) - base

    # What one layer of 2 heads alone costs, by its error: how much the model's loss depends on the layer.
    alone = []
    for layer in range(count):
        model = copy.deepcopy(source)
        model.model.layers[layer].self_attn = trained[2].model.layers[layer].self_attn
        alone.append((perplexity(model, held_out_text) - base) / errors[2][layer])
    weighted = {heads: [error * weight for error, weight in zip(errors[heads], alone)] for heads in errors}
    for name, choice in (("2 heads everywhere", (2,) * count), ("by error", best_budget(errors, 2 * count)),
                         ("by error and loss", best_budget(weighted, 2 * count))):
        print(f"| {name} | {choice} | {excess(choice):.3f} |", flush=True)
    print(f"errors: {errors}")


def perplexity(model, windows):
    losses = []
    with torch.no_grad():
        for place in range(0, len(windows), 8):
            batch = windows[place:place + 8]
            logits = model(batch).logits[:, :-1]
            losses.append(F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none"))
    return math.exp(torch.cat(losses).double().mean().item())


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    source = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).requires_grad_(False)
    tokens = windows_of(arguments.model, arguments.texts / "train.jsonl", arguments.sequence_length,
                        arguments.sequences + HELD_OUT)
    held_out_text = windows_of(arguments.model, arguments.texts / "valid.jsonl", arguments.sequence_length,
                               arguments.eval_windows)
    base = perplexity(source, held_out_text) if arguments.eval_windows else 0
    rule = 4e-3 * math.sqrt(256 / source.config.hidden_size)
    if arguments.budgets:
        print(f"source: {base:.3f}\n| heads | by layer | excess |\n|---|---|---|", flush=True)
        return compare_budgets(arguments, source, tokens, held_out_text, base, rule)
    merged, order = merge(arguments, arguments.kv_heads)
    layers = Layers(source, merged, order, tokens)
    chosen = arguments.layers if arguments.layers is not None else range(len(layers.variances))
    windows, held_out = torch.arange(len(tokens) - HELD_OUT), torch.arange(len(tokens) - HELD_OUT, len(tokens))
    print(f"source: {base:.3f}\n| recipe | rate | error before | after | excess | seconds |\n" + "|---" * 6 + "|", flush=True)
    for name in arguments.recipes:
        for rate in arguments.rates:
            recipe = RECIPES[name]
            recipe = dataclasses.replace(recipe, rate=rate or recipe.rate or rule)
            layers.student = copy.deepcopy(merged)
            started = time.monotonic()
            errors = train_layers(layers, recipe, windows, held_out, arguments.seed, chosen)
            if recipe.global_steps:
                train_globally(layers, recipe, windows, arguments.seed)
            seconds = time.monotonic() - started
            excess = perplexity(layers.student, held_out_text) - base if arguments.eval_windows else float("nan")
            before, after = (sum(column) / len(errors) for column in zip(*errors))
            print(f"| {name} | {recipe.rate:.2g} | {before:.4f} | {after:.4f} | {excess:.3f} | {seconds:.0f} |",
                  flush=True)


if __name__ == "__main__":
    main()
