#!/usr/bin/env python3
"""Checks that the demo's model is a good example by its perplexity before and after its KV heads are merged.

    OMP_NUM_THREADS=1 check_model.py --model deploy/demo/model --kv-heads 2

It merges neighbouring heads without training in three ways, in float32 and in plain Python that shares no code with
Regroup: by the mean, by the mean after alignment with orthogonal Procrustes (for keys, rotations of RoPE pairs), and by
the principal components weighted by the output projection (values) and by the energy of the queries (keys).
"""

import argparse
import copy
import json
import math
import pathlib

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM
from transformers.utils import logging

CALIBRATION_TEXTS = 250
SWEEPS = 100


def texts_of(path):
    return [json.loads(line)["text"] for line in open(path, encoding="utf-8")]


def stream_of(tokenizer, texts):
    """Returns all texts as one list of tokens; each starts with the begin token and is followed by the end token."""
    end = tokenizer.token_to_id("</s>")
    return [token for encoding in tokenizer.encode_batch(texts) for token in encoding.ids + [end]]


def windows_of(stream, window):
    count = len(stream) // window
    return torch.tensor(stream[: count * window]).view(count, window)


@torch.no_grad()
def perplexity(model, stream, window):
    """Returns exp of the mean negative log-likelihood of tokens 2..n of each window; drops the last, shorter window."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for batch in windows_of(stream, window).split(16):
        logits = model(batch).logits[:, :-1].float()
        total += torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
        count += batch[:, 1:].numel()
    model.train(was_training)
    return math.exp(total / count)


@torch.no_grad()
def input_moments(model, stream, window):
    """Returns per layer the mean over tokens of x^T x, where x is the attention's input (hidden x hidden, float64)."""
    sums = [0] * len(model.model.layers)
    hooks = []
    for index, layer in enumerate(model.model.layers):
        def add(module, inputs, index=index):
            x = inputs[0].flatten(0, 1).double()
            sums[index] = sums[index] + x.T @ x
        hooks.append(layer.self_attn.q_proj.register_forward_pre_hook(add))
    windows = windows_of(stream, window)
    for batch in windows.split(16):
        model(batch)
    for hook in hooks:
        hook.remove()
    return [total / windows.numel() for total in sums]


def heads_of(weight, heads):
    """Reshapes [H d, hidden] to [H, d, hidden], float64."""
    return weight.detach().double().view(heads, -1, weight.shape[1])


def as_complex(rows):
    """Returns the RoPE pairs (t, t + d/2) of [.., d, hidden] as [.., d/2, hidden] complex rows."""
    first, second = rows.chunk(2, dim=-2)
    return torch.complex(first, second)


def as_real(rows):
    return torch.cat((rows.real, rows.imag), dim=-2)


def square_root(matrix, floor=1e-6):
    """Returns the symmetric square root and its inverse; clamps eigenvalues from below relative to the largest."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(floor * values[-1]).sqrt()
    return vectors * values @ vectors.T, vectors / values @ vectors.T


def polar(matrix):
    u, _, vt = torch.linalg.svd(matrix)
    return u @ vt


def merge_values_mean(values, outputs, _):
    return values.mean(0), outputs


def merge_values_procrustes(values, outputs, moment):
    """Averages v_i Q_i, with Q_i from cyclic updates of generalised Procrustes; the outputs take the transposes."""
    s, d, _ = values.shape
    grams = torch.einsum("iah,hk,jbk->ijab", values, moment, values)
    q = torch.eye(d, dtype=values.dtype).repeat(s, 1, 1)
    for _ in range(SWEEPS if s > 1 else 0):
        for i in range(s):
            q[i] = polar(sum(grams[i, j] @ q[j] for j in range(s) if j != i))
    return torch.einsum("iab,iah->bh", q, values) / s, outputs @ q


def merge_values_principal(values, outputs, moment):
    """Uses the top d eigenvectors of the group's Gram in the output projection's metric; outputs: [s, hidden, d]."""
    s, d, _ = values.shape
    roots = [square_root(o.T @ o) for o in outputs]
    scaled = torch.cat([root @ v for (root, _), v in zip(roots, values)])
    vectors = torch.linalg.eigh(scaled @ moment @ scaled.T)[1][:, -d:]
    maps = vectors.view(s, d, d)
    return vectors.T @ scaled, torch.stack([o @ inverse @ p for o, (_, inverse), p in zip(outputs, roots, maps)])


def merge_keys_mean(keys, queries, _):
    return keys.mean(0), queries


def merge_keys_procrustes(keys, queries, moment):
    """Finds unit complex factors c per head and pair by cyclic updates; (q c, k c) keeps the score conj(q) k."""
    keys, queries = as_complex(keys), as_complex(queries)
    s = len(keys)
    grams = torch.einsum("ith,hk,jtk->tij", keys.conj(), moment.to(keys.dtype), keys)
    c = torch.ones(keys.shape[:2], dtype=keys.dtype)
    for _ in range(SWEEPS if s > 1 else 0):
        for i in range(s):
            total = sum(grams[:, i, j] * c[j] for j in range(s) if j != i)
            c[i] = total / total.abs()
    return as_real((c[..., None] * keys).mean(0)), as_real(c[..., None] * queries)


def merge_keys_principal(keys, queries, moment):
    """Uses per pair the top eigenvector of the group's Gram, each key weighted by the energy of its query."""
    keys, queries = as_complex(keys), as_complex(queries)
    moment = moment.to(keys.dtype)
    energies = torch.einsum("ith,hk,itk->ti", queries.conj(), moment, queries).real.sqrt()
    grams = torch.einsum("ith,hk,jtk->tij", keys, moment, keys.conj())
    metric = energies[:, :, None] * energies[:, None, :]
    u = torch.linalg.eigh(grams * metric)[1][:, :, -1]
    shared = torch.einsum("tb,tb,bth->th", u.conj(), energies.to(u.dtype), keys)
    back = (u / energies).T[..., None]
    return as_real(shared), as_real(back.conj() * queries)


METHODS = {
    "mean": (merge_keys_mean, merge_values_mean),
    "procrustes": (merge_keys_procrustes, merge_values_procrustes),
    "principal": (merge_keys_principal, merge_values_principal),
}


@torch.no_grad()
def merge_layer(attention, kv_heads, moment, method):
    merge_keys, merge_values = METHODS[method]
    heads = attention.config.num_key_value_heads
    keys, values, queries = (heads_of(p.weight, heads) for p in (attention.k_proj, attention.v_proj, attention.q_proj))
    outputs = heads_of(attention.o_proj.weight.T.contiguous(), heads).transpose(1, 2)
    shared_keys, shared_values, new_queries, new_outputs = [], [], [], []
    for group in torch.arange(heads).view(kv_heads, -1):
        key, query = merge_keys(keys[group], queries[group], moment)
        value, output = merge_values(values[group], outputs[group], moment)
        shared_keys.append(key), new_queries.append(query)
        shared_values.append(value), new_outputs.append(output)
    return {
        "k_proj": torch.cat(shared_keys),
        "v_proj": torch.cat(shared_values),
        "q_proj": torch.cat(new_queries).flatten(0, 1),
        "o_proj": torch.cat(new_outputs).transpose(1, 2).flatten(0, 1).T,
    }


def merged(model, kv_heads, moments, method):
    """Returns a model with kv_heads KV heads; neighbouring heads of the source share one."""
    state = dict(model.state_dict())
    for index, layer in enumerate(model.model.layers):
        for name, weight in merge_layer(layer.self_attn, kv_heads, moments[index], method).items():
            state[f"model.layers.{index}.self_attn.{name}.weight"] = weight.float()
    config = copy.deepcopy(model.config)
    config.num_key_value_heads = kv_heads
    result = LlamaForCausalLM(config)
    result.load_state_dict(state)
    return result


def main():
    here = pathlib.Path(__file__).parent
    parser = argparse.ArgumentParser(description="Measures the demo's model before and after merging its KV heads.")
    parser.add_argument("--model", type=pathlib.Path, default=here / "model")
    parser.add_argument("--kv-heads", type=int, nargs="+", default=[8, 4, 2, 1])
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    model = LlamaForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    window = model.config.max_position_embeddings
    valid = stream_of(tokenizer, texts_of(here / "valid.jsonl"))
    moments = input_moments(model, stream_of(tokenizer, texts_of(here / "train.jsonl")[:CALIBRATION_TEXTS]), window)
    print(f"source: {perplexity(model, valid, window):.3f} ({len(valid)} tokens)")
    for kv_heads in arguments.kv_heads:
        for method in METHODS:
            value = perplexity(merged(model, kv_heads, moments, method), valid, window)
            print(f"{kv_heads} KV heads, {method}: {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
