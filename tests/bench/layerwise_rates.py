#!/usr/bin/env python3
"""Finds the learning rate of layerwise distillation for models of several widths: the rule of layerwise.learning_rate.

    build/venv/bin/python tests/bench/layerwise_rates.py [--widths 128,256,512,1024] [--rates 5e-4,1e-3,2e-3,4e-3,8e-3,1.6e-2]

For each width it trains a LLaMA of two layers from random weights on the texts, merges its KV heads by four with the
product (`principal`), trains the layers of the merged model at every rate as layerwise_research.py does, and prints their
mean error (L_out on held-out windows) by rate. An existing model is not trained again.
"""

import argparse
import copy
import math
import pathlib

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

import trained_model
from layerwise_research import HELD_OUT, Layers, Recipe, folder, merge, train_layers, windows_of

LAYERS, LENGTH, HEAD_WIDTH = 2, 256, 64
BATCH, WARM_UP = 4, 30


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=folder, default=trained_model.ROOT / "build/release/bin")
    parser.add_argument("--model", type=folder, default=trained_model.MODEL, help="its tokenizer is used")
    parser.add_argument("--texts", type=folder, default=trained_model.TEXTS, help="train.jsonl")
    parser.add_argument("--work", type=folder, default=trained_model.ROOT / "build/widths")
    parser.add_argument("--widths", type=lambda text: [int(width) for width in text.split(",")],
                        default=[128, 256, 512, 1024])
    parser.add_argument("--rates", type=lambda text: [float(rate) for rate in text.split(",")],
                        default=[5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2])
    parser.add_argument("--steps", type=int, default=300, help="of the source's training")
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def train_source(width, place, windows, arguments):
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    heads = max(4, width // HEAD_WIDTH)
    torch.manual_seed(width)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=LAYERS,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=LENGTH, bos_token_id=0,
        eos_token_id=1))
    rate = 3e-3 * math.sqrt(128 / width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(arguments.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / WARM_UP, (arguments.steps - step) / arguments.steps)
        batch = windows[torch.arange(step * BATCH, (step + 1) * BATCH) % len(windows)]
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        optimizer.zero_grad()
    print(f"width {width}, {heads} heads: loss {loss.item():.3f} after {arguments.steps} steps", flush=True)
    model.save_pretrained(place)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / name).write_bytes((arguments.model / name).read_bytes())


def errors_by_rate(width, arguments, text):
    place = arguments.work / f"width-{width}"
    if not (place / "tokenizer_config.json").exists():
        train_source(width, place, text, arguments)
    arguments.model = place
    source = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).requires_grad_(False)
    arguments.sequence_length = LENGTH
    merged, order = merge(arguments, source.config.num_attention_heads // 4)
    layers = Layers(source, merged, order, text[:arguments.sequences + HELD_OUT])
    windows = torch.arange(arguments.sequences)
    held_out = torch.arange(arguments.sequences, arguments.sequences + HELD_OUT)
    means = []
    for rate in arguments.rates:
        layers.student = copy.deepcopy(merged)
        errors = train_layers(layers, Recipe(rate=rate), windows, held_out, arguments.seed, range(LAYERS))
        means.append(sum(after for _, after in errors) / LAYERS)
    return means, sum(before for before, _ in errors) / LAYERS


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    text = windows_of(arguments.model, arguments.texts / "train.jsonl", LENGTH, max(arguments.sequences + HELD_OUT, 1200))
    print(f"| width | before | {' | '.join(f'{rate:.2g}' for rate in arguments.rates)} | best |")
    print("|---" * (len(arguments.rates) + 3) + "|")
    tokenizer_of = arguments.model
    for width in arguments.widths:
        arguments.model = tokenizer_of
        means, before = errors_by_rate(width, arguments, text)
        best = arguments.rates[min(range(len(means)), key=means.__getitem__)]
        print(f"| {width} | {before:.4f} | {' | '.join(f'{mean:.4f}' for mean in means)} | {best:.2g} |", flush=True)


if __name__ == "__main__":
    main()
