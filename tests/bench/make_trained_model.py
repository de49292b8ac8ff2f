#!/usr/bin/env python3
"""Trains the model that the benchmarks measure: a LLaMA with 6 layers of 8 heads, 6.8 million parameters.

    build/venv/bin/python tests/bench/make_trained_model.py [--out build/trained-models] [--steps 900]

Reads the stories that deploy/demo/make_text.py makes: no download takes part. Writes a folder of the form that
REGROUP_TRAINED_MODELS names: models/llama-mha-6m, data/train.jsonl and data/valid.jsonl. Seeded, so that two runs on one
machine give one model; its last digits depend on the CPU and on the libraries. Prints the perplexity on valid.jsonl.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

import trained_model

sys.path.insert(0, str(trained_model.ROOT / "deploy/demo"))
from check_model import perplexity, stream_of  # noqa: E402
from make_text import story_number  # noqa: E402
import train_model  # noqa: E402

SEED = 6_843_648
VOCABULARY = 4096
WINDOWS_A_STEP = 8
# As large as the text that a small job reads; training goes on with later stories of the same split.
TRAIN_STORIES, VALID_STORIES = 12_000, 800


def config(tokenizer):
    return LlamaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=256, intermediate_size=688, num_hidden_layers=6,
                       num_attention_heads=8, num_key_value_heads=8, head_dim=32, rms_norm_eps=1e-5,
                       max_position_embeddings=train_model.WINDOW, tie_word_embeddings=False,
                       bos_token_id=tokenizer.token_to_id(train_model.BEGIN),
                       eos_token_id=tokenizer.token_to_id(train_model.END),
                       pad_token_id=tokenizer.token_to_id(train_model.PAD))


def write_stories(file, split, count):
    stories = [story_number(split, number) for number in range(count)]
    file.write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
    return stories


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=trained_model.MADE)
    parser.add_argument("--steps", type=int, default=900)
    arguments = parser.parse_args()
    model_folder, texts = arguments.out / "models/llama-mha-6m", arguments.out / "data"
    for folder in (model_folder, texts):
        folder.mkdir(parents=True, exist_ok=True)

    logging.disable_progress_bar()
    torch.manual_seed(SEED)
    started = time.monotonic()
    stories = write_stories(texts / "train.jsonl", "train", TRAIN_STORIES)
    held_out = write_stories(texts / "valid.jsonl", "valid", VALID_STORIES)
    tokenizer = train_model.train_tokenizer(stories, VOCABULARY)
    train_model.save_tokenizer(tokenizer, model_folder)
    model = LlamaForCausalLM(config(tokenizer))
    model.generation_config = train_model.generation_config(tokenizer)
    tokens = train_model.training_tokens(tokenizer, arguments.steps * WINDOWS_A_STEP * train_model.WINDOW)
    valid = stream_of(tokenizer, held_out)

    def measure(step):
        seconds = time.monotonic() - started
        print(f"step {step}: perplexity {perplexity(model, valid, train_model.WINDOW):.4f}, {seconds:.0f} s", flush=True)

    train_model.train(model, tokens, arguments.steps, measure, WINDOWS_A_STEP)
    model.save_pretrained(model_folder)
    print(f"{model_folder}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


if __name__ == "__main__":
    main()
