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
import math
import sys
import time

import torch
from transformers import AutoModelForCausalLM

import trained_model
from layerwise_lessons import HELD_OUT, Layers, Recipe, divergence, folder, merge, train_layers, windows_of

sys.path.insert(0, str(trained_model.ROOT / "deploy/demo"))
from check_model import perplexity  # noqa: E402

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
    parser.add_argument("--eval-windows", type=int, default=200, help="at least 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budgets", action="store_true", help="compare numbers of heads by layer instead of recipes")
    return parser.parse_args()


@contextlib.contextmanager
def branches_of(*models):
    """Yields, for each model, a list to which its forward passes append the output of every attention."""
    lists = [[] for _ in models]
    hooks = [layer.self_attn.register_forward_hook(lambda _, __, out, caught=caught: caught.append(out[0]))
             for model, caught in zip(models, lists) for layer in model.model.layers]
    try:
        yield lists
    finally:
        for hook in hooks:
            hook.remove()


def train_globally(layers, recipe, seed):
    source, student, windows = layers.source, layers.student, layers.windows
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
            if recipe.attention_weight:
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


def compare_budgets(arguments, source, tokens, excess_of, rate):
    """Trains the layers with 1, 2 and 4 KV heads each and spends the heads of a uniform model by the errors reached."""
    trained, errors = {}, {}
    for heads in (1, 2, 4):
        merged, order = merge(arguments, heads)
        layers = Layers(source, merged, order, tokens)
        errors[heads] = [after for _, after in train_layers(layers, Recipe(rate=rate), arguments.seed)]
        trained[heads] = merged
    count = len(errors[1])

    # What one layer of 2 heads alone costs, by its error: how much the model's loss depends on the layer.
    alone = []
    for layer in range(count):
        model = copy.deepcopy(source)
        model.model.layers[layer].self_attn = trained[2].model.layers[layer].self_attn
        alone.append(excess_of(model) / errors[2][layer])
    weighted = {heads: [error * weight for error, weight in zip(errors[heads], alone)] for heads in errors}
    for name, choice in (("2 heads everywhere", (2,) * count), ("by error", best_budget(errors, 2 * count)),
                         ("by error and loss", best_budget(weighted, 2 * count))):
        print(f"| {name} | {choice} | {excess_of(compose(source, trained, choice)):.3f} |", flush=True)
    print(f"errors: {errors}")


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    source = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).requires_grad_(False)
    tokens = windows_of(arguments.model, arguments.texts / "train.jsonl", arguments.sequence_length,
                        arguments.sequences + HELD_OUT)
    held_out_text = windows_of(arguments.model, arguments.texts / "valid.jsonl", arguments.sequence_length,
                               arguments.eval_windows)
    held_out_stream = held_out_text.flatten().tolist()
    base = perplexity(source, held_out_stream, arguments.sequence_length)

    def excess_of(model):
        return perplexity(model, held_out_stream, arguments.sequence_length) - base

    rule = 4e-3 * math.sqrt(256 / source.config.hidden_size)
    if arguments.budgets:
        print(f"source: {base:.3f}\n| heads | by layer | excess |\n|---|---|---|", flush=True)
        return compare_budgets(arguments, source, tokens, excess_of, rule)
    merged, order = merge(arguments, arguments.kv_heads)
    layers = Layers(source, merged, order, tokens)
    print(f"source: {base:.3f}\n| recipe | rate | error before | after | excess | seconds |\n" + "|---" * 6 + "|", flush=True)
    for name in arguments.recipes:
        for rate in arguments.rates:
            recipe = RECIPES[name]
            recipe = dataclasses.replace(recipe, rate=rate or recipe.rate or rule)
            layers.student = copy.deepcopy(merged)
            started = time.monotonic()
            errors = train_layers(layers, recipe, arguments.seed, arguments.layers)
            if recipe.global_steps:
                train_globally(layers, recipe, arguments.seed)
            seconds = time.monotonic() - started
            before, after = (sum(column) / len(errors) for column in zip(*errors))
            print(f"| {name} | {recipe.rate:.2g} | {before:.4f} | {after:.4f} | {excess_of(layers.student):.3f} | {seconds:.0f} |",
                  flush=True)


if __name__ == "__main__":
    main()
