#!/usr/bin/env python3
"""Measures the perplexity of a small trained model of every family before and after its KV heads are halved, without
training after the merge: `none`, `procrustes` and `principal`.

    build/venv/bin/python tests/bench/family_bench.py [--families gpt2,opt] [--steps 400] [--work build/families]

Each model learns the demonstration's stories, which ask for names that were given before, so that heads do different
work. All use the demonstration's tokenizer, AdamW and one learning rate. An existing model is not trained again."""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

import torch
import transformers
from tokenizers import Tokenizer

from training_cases import ROOT

DEMO = ROOT / "deploy/demo"
WINDOW = 128
BATCH = 16
METHODS = ("none", "procrustes", "principal")

LAYERS, WIDTH, HEADS = 3, 128, 8
COMMON = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 2 * WIDTH,
          "max_position_embeddings": WINDOW}
LLAMA_LIKE = {**COMMON, "num_key_value_heads": HEADS}
HEAD = WIDTH // HEADS
# A window in two of three layers, shorter than the texts.
KINDS = {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "sliding_window": 32}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH // 2}
GPT = {"n_layer": LAYERS, "n_embd": WIDTH, "n_head": HEADS, "n_positions": WINDOW, "n_inner": 2 * WIDTH}
BART = {"encoder_layers": LAYERS, "decoder_layers": LAYERS, "d_model": WIDTH, "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS, "encoder_ffn_dim": 2 * WIDTH, "decoder_ffn_dim": 2 * WIDTH,
        "max_position_embeddings": WINDOW, "decoder_start_token_id": 2, "scale_embedding": True}
T5GEMMA = {**LLAMA_LIKE, **KINDS, "head_dim": HEAD, "query_pre_attn_scalar": HEAD, "bos_token_id": 2}
# Configurations by model type.
FAMILIES = {
    "llama": LLAMA_LIKE,
    "mistral": {**LLAMA_LIKE, "sliding_window": None},
    "qwen2": LLAMA_LIKE,
    "qwen3": {**LLAMA_LIKE, "head_dim": HEAD},
    "qwen2_moe": {**LLAMA_LIKE, **EXPERTS, "shared_expert_intermediate_size": WIDTH},
    "qwen3_moe": {**LLAMA_LIKE, **EXPERTS, "head_dim": HEAD, "norm_topk_prob": True},
    "mixtral": {**LLAMA_LIKE, "num_local_experts": 4},
    "gemma": {**LLAMA_LIKE, "head_dim": HEAD, "hidden_act": "gelu_pytorch_tanh"},
    "gemma2": {**LLAMA_LIKE, **KINDS, "head_dim": HEAD, "query_pre_attn_scalar": HEAD},
    "gemma3_text": {**LLAMA_LIKE, **KINDS, "head_dim": HEAD, "query_pre_attn_scalar": HEAD},
    "olmo": LLAMA_LIKE,
    "olmo2": LLAMA_LIKE,
    "olmo3": {**LLAMA_LIKE, **KINDS},
    "olmoe": {**LLAMA_LIKE, "num_experts": 8, "num_experts_per_tok": 2},
    "cohere": {**LLAMA_LIKE, "logit_scale": 1.0},
    "cohere2": {**LLAMA_LIKE, **KINDS, "logit_scale": 1.0},
    "granite": {**LLAMA_LIKE, "embedding_multiplier": 4.0, "attention_multiplier": 0.25, "residual_multiplier": 0.7},
    "smollm3": {**LLAMA_LIKE, "no_rope_layers": [1, 1, 0]},
    "stablelm": LLAMA_LIKE,
    "nemotron": LLAMA_LIKE,
    "phi": LLAMA_LIKE,
    "phi3": LLAMA_LIKE,
    "gpt_neox": COMMON,
    "gptj": {**GPT, "rotary_dim": 8},
    "gpt2": GPT,
    "opt": {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "ffn_dim": 2 * WIDTH,
            "max_position_embeddings": WINDOW, "word_embed_proj_dim": WIDTH},
    "bloom": {"n_layer": LAYERS, "hidden_size": WIDTH, "n_head": HEADS, "seq_length": WINDOW},
    "t5": {"num_layers": LAYERS, "num_decoder_layers": LAYERS, "d_model": WIDTH, "d_kv": WIDTH // HEADS, "num_heads": HEADS,
           "d_ff": 2 * WIDTH, "decoder_start_token_id": 2},
    "t5gemma": {"encoder": T5GEMMA, "decoder": T5GEMMA, "decoder_start_token_id": 2},
    **{family: BART for family in ("bart", "mbart", "pegasus", "marian", "m2m_100")},
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES), help="model types")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/families")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "build/release/bin")
    return parser.parse_args()


def training_windows(tokenizer):
    """Returns [windows, WINDOW]: the stories one after the other, each with its begin and end tokens."""
    end = tokenizer.token_to_id("</s>")
    texts = [json.loads(line)["text"] for line in open(DEMO / "train.jsonl", encoding="utf-8")]
    stream = [token for encoding in tokenizer.encode_batch(texts) for token in encoding.ids + [end]]
    count = len(stream) // WINDOW
    return torch.tensor(stream[: count * WINDOW]).view(count, WINDOW)


def rate_at(step, arguments):
    warm_up = 100
    if step < warm_up:
        return arguments.learning_rate * (step + 1) / warm_up
    return arguments.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, arguments.steps - warm_up)))


def train(model_type, folder, windows, tokenizer, arguments):
    special = {f"{name}_token_id": tokenizer.token_to_id(word)
               for name, word in (("bos", "<s>"), ("eos", "</s>"), ("pad", "<pad>"))}
    sizes = {**special, "vocab_size": tokenizer.get_vocab_size()}
    parts = {part: {**sizes, **settings} for part, settings in FAMILIES[model_type].items() if part in ("encoder", "decoder")}
    config = transformers.AutoConfig.for_model(model_type, **{**sizes, **FAMILIES[model_type], **parts})
    torch.manual_seed(1)
    base = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    # Transformers computes soft caps of attention logits in its eager implementation only.
    model = base.from_config(config, dtype=torch.float32, attn_implementation="eager").train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    order = torch.Generator().manual_seed(1)
    for step in range(arguments.steps):
        batch = windows[torch.randint(len(windows), (BATCH,), generator=order)]
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, arguments)
        logits, targets = trained_predictions(model, batch)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_bytes((DEMO / "model" / name).read_bytes())


def trained_predictions(model, batch):
    """Returns logits and the tokens that they predict; an encoder-decoder encodes the first half."""
    if not model.config.is_encoder_decoder:
        return model(batch).logits[:, :-1], batch[:, 1:]
    half = batch.shape[1] // 2
    start = torch.full_like(batch[:, :1], model.config.decoder_start_token_id)
    read = torch.cat([start, batch[:, half:-1]], 1)
    return model(input_ids=batch[:, :half], decoder_input_ids=read).logits, batch[:, half:]


def perplexities(folder, arguments):
    """Returns the source's perplexity and that of each method, from one job."""
    job = {
        "name": folder.name.replace("_", "-"),
        "source": {"checkpoint": str(folder)},
        "recipe": "paper",
        "sweep": {"kv_heads": [HEADS // 2], "alignment": list(METHODS), "finetune": ["none"], "refine": [False]},
        "calibration": {"data": str(DEMO / "train.jsonl"), "sequences": 128, "sequence_length": WINDOW},
        "evaluation": {"perplexity": {"data": str(DEMO / "valid.jsonl"), "sequence_length": WINDOW}},
    }
    file = folder.parent / f"{folder.name}.json"
    file.write_text(json.dumps(job))
    work = folder.parent / f"{folder.name}-work"
    command = [arguments.programs / "regroup", "run", file, "--work-dir", work, "--workers", "1", "--slots", "2"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"{folder.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    page = next(line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.split()[:1] == ["report"])
    report = json.loads(pathlib.Path(page.strip()).with_suffix(".json").read_text())
    rows = {row["alignment"]: row["result"]["perplexity"] for row in report["rows"]}
    return report["source"]["perplexity"], rows


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = Tokenizer.from_file(str(DEMO / "model/tokenizer.json"))
    windows = training_windows(tokenizer)
    arguments.work.mkdir(parents=True, exist_ok=True)
    print(f"{LAYERS} layers of {HEADS} heads x {WIDTH // HEADS}, {arguments.steps} steps of {BATCH} x {WINDOW} tokens; perplexity "
          f"with {HEADS // 2} KV heads\n")
    print("| model type | source | " + " | ".join(METHODS) + " | excess, principal / procrustes |")
    print("|---|---|" + "---|" * len(METHODS) + "---|", flush=True)
    for model_type in arguments.families.split(","):
        folder, started = arguments.work / model_type, time.monotonic()
        if not (folder / "special_tokens_map.json").exists():
            train(model_type, folder, windows, tokenizer, arguments)
        source, rows = perplexities(folder.resolve(), arguments)
        share = (rows["principal"] - source) / (rows["procrustes"] - source)
        print(f"| {model_type} | {source:.3f} | " + " | ".join(f"{rows[method]:.3f}" for method in METHODS) +
              f" | {share:.2f} |", flush=True)
        print(f"{model_type}: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
