#!/usr/bin/env python3
"""Trains the demo's source model: a tokenizer and a small LLaMA with as many KV heads as query heads.

    OMP_NUM_THREADS=1 train_model.py --out deploy/demo/model

Needs torch, transformers and tokenizers. It is kept so that anybody can reproduce the committed model; nothing in
Regroup runs it. The tokenizer is trained on train.jsonl only. The model reads each story once: the stories of
train.jsonl, and then the next ones of the same split, so that it learns to look names up and cannot memorise them.
"""

import argparse
import copy
import json
import math
import pathlib
import time

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from check_model import perplexity, stream_of, texts_of
from make_text import story_number

SEED = 20677
VOCABULARY = 768
BEGIN, END, PAD = "<s>", "</s>", "<pad>"
WINDOW = 256
WINDOWS_A_STEP = 4
LEARNING_RATE = 1.5e-3
LAST_LEARNING_RATE = 5.0e-5
WARM_UP_STEPS = 100


def train_tokenizer(texts, vocabulary=VOCABULARY):
    """Trains a byte-level BPE tokenizer, which puts the begin token in front of every encoded text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in (BEGIN, END, PAD)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin_id = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, begin_id)]
    )
    return tokenizer


def save_tokenizer(tokenizer, folder):
    """Writes the Hugging Face files, including special_tokens_map.json, which Transformers 5 leaves out."""
    special = {"bos_token": BEGIN, "eos_token": END, "pad_token": PAD}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=WINDOW, clean_up_tokenization_spaces=False, **special
    ).save_pretrained(folder)
    settings = {**special, "clean_up_tokenization_spaces": False, "model_max_length": WINDOW,
                "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, content in (("special_tokens_map.json", special), ("tokenizer_config.json", settings)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def model_config(tokenizer):
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BEGIN),
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(PAD),
        rms_norm_eps=1e-5,
        use_cache=True,
    )


def generation_config(tokenizer):
    tokens = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
    return GenerationConfig(**{name: tokenizer.token_to_id(token) for name, token in tokens.items()})


def training_tokens(tokenizer, needed):
    """Returns the tokens of the train split's stories, in order, until there are enough."""
    tokens, number = [], 0
    while len(tokens) < needed:
        tokens += stream_of(tokenizer, [story_number("train", n) for n in range(number, number + 1000)])
        number += 1000
    print(f"{number} stories, {len(tokens)} tokens", flush=True)
    return torch.tensor(tokens)


def learning_rate(step, steps):
    if step < WARM_UP_STEPS:
        return LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    cosine = 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / (steps - WARM_UP_STEPS)))
    return LAST_LEARNING_RATE + (LEARNING_RATE - LAST_LEARNING_RATE) * cosine


def optimizer_of(model):
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def train(model, tokens, steps, after_some_steps, windows_a_step=WINDOWS_A_STEP):
    windows = tokens[: steps * windows_a_step * WINDOW].view(steps, windows_a_step, WINDOW)
    optimizer = optimizer_of(model)
    model.train()
    started = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(windows[step]).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), windows[step][:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} loss {loss.item():.4f} seconds {time.monotonic() - started:.0f}", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == steps:
            after_some_steps(step + 1)


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description="Trains the demo's source model.")
    parser.add_argument("--out", type=pathlib.Path, default=here / "model")
    parser.add_argument("--steps", type=int, default=4500)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    logging.disable_progress_bar()
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer(texts_of(here / "train.jsonl"))
    save_tokenizer(tokenizer, arguments.out)
    model = LlamaForCausalLM(model_config(tokenizer))
    model.generation_config = generation_config(tokenizer)
    tokens = training_tokens(tokenizer, arguments.steps * WINDOWS_A_STEP * WINDOW)
    valid = stream_of(tokenizer, texts_of(here / "valid.jsonl"))

    def save(step):
        print(f"step {step} valid perplexity {perplexity(model, valid, WINDOW):.4f}", flush=True)
        copy.deepcopy(model).bfloat16().save_pretrained(arguments.out)

    train(model, tokens, arguments.steps, save)


if __name__ == "__main__":
    main()
