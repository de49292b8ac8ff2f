#!/usr/bin/env python3
"""Finds the learning rate of layerwise distillation for models of several widths: the rule of layerwise.learning_rate.

    build/venv/bin/python tests/bench/layerwise_rates.py [--widths 128,256,512,1024] [--rates 5e-4,1e-3,2e-3,4e-3,8e-3,1.6e-2]

For each width it trains a LLaMA of two layers from random weights on the texts, merges its KV heads by four with the
product (`principal`), trains the layers of the merged model at every rate as layerwise_lessons.py does, and prints their
mean error (L_out on held-out windows) by rate. An existing model is not trained again.
"""

import argparse
import copy
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

import trained_model
from layerwise_lessons import HELD_OUT, Layers, Recipe, folder, merge, train_layers, windows_of

sys.path.insert(0, str(trained_model.ROOT / "deploy/demo"))
import train_model  # noqa: E402
from train_model import WINDOW  # noqa: E402

LAYERS, HEAD_WIDTH = 2, 64


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
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=WINDOW, bos_token_id=0,
        eos_token_id=1))
    train_model.train(model, windows.flatten(), arguments.steps, lambda step: None)
    model.save_pretrained(place)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / name).write_bytes((arguments.model / name).read_bytes())


def errors_by_rate(width, arguments, text):
    place = arguments.work / f"width-{width}"
    if not (place / "tokenizer_config.json").exists():
        train_source(width, place, text, arguments)
    source = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).requires_grad_(False)
    of_source = argparse.Namespace(**{**vars(arguments), "model": place, "sequence_length": WINDOW})
    merged, order = merge(of_source, source.config.num_attention_heads // 4)
    layers = Layers(source, merged, order, text[:arguments.sequences + HELD_OUT])
    means = []
    for rate in arguments.rates:
        layers.student = copy.deepcopy(merged)
        errors = train_layers(layers, Recipe(rate=rate), arguments.seed)
        means.append(sum(after for _, after in errors) / LAYERS)
    return means, sum(before for before, _ in errors) / LAYERS


def main():
    arguments = parse_arguments()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    needed = max(arguments.sequences + HELD_OUT, arguments.steps * train_model.WINDOWS_A_STEP)
    text = windows_of(arguments.model, arguments.texts / "train.jsonl", WINDOW, needed)
    print(f"| width | before | {' | '.join(f'{rate:.2g}' for rate in arguments.rates)} | best |")
    print("|---" * (len(arguments.rates) + 3) + "|")
    for width in arguments.widths:
        means, before = errors_by_rate(width, arguments, text)
        best = arguments.rates[min(range(len(means)), key=means.__getitem__)]
        print(f"| {width} | {before:.4f} | {' | '.join(f'{mean:.4f}' for mean in means)} | {best:.2g} |", flush=True)


if __name__ == "__main__":
    main()
