"""Runs in the environment of llama.cpp: loads one GGUF file and decodes greedily, one prompt after the other.

usage: llama_cpp_reader.py <file.gguf> <cells of the cache> [flash], with {"prompts": [[id, ...], ...], "new_tokens": N} on
standard input

Prints {"tokens": [[id, ...], ...], "log_probabilities": [[x, ...], ...]} as the last line of standard output. llama.cpp
says in its log, on standard error, how large its KV cache is.

Flash attention is off unless asked for: on CPUs it accumulates in half precision, which moves log-probabilities by up to
1.5e-2.
"""

import json
import sys

import xllamacpp


def parameters_of(path, cells, flash):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = cells
    parameters.n_parallel = 1
    parameters.n_gpu_layers = 0
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    kinds = xllamacpp.llama_flash_attn_type
    parameters.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.fit_params = False
    parameters.warmup = False
    # Information, which includes the size of the KV cache.
    parameters.verbosity = 4
    parameters.cpuparams.n_threads = 1
    return parameters


def decode(server, prompt, new_tokens):
    answer = server.handle_completions({"prompt": prompt, "n_predict": new_tokens, "temperature": 0.0,
                                        "samplers": ["top_k"], "top_k": 1, "n_probs": 1, "ignore_eos": True})  # fmt: skip
    content = answer["choices"][0]["logprobs"]["content"]
    return [one["id"] for one in content], [one["logprob"] for one in content]


def main():
    path, cells, *flash = sys.argv[1:]
    request = json.load(sys.stdin)
    server = xllamacpp.Server(parameters_of(path, int(cells), flash == ["flash"]))
    decoded = [decode(server, prompt, request["new_tokens"]) for prompt in request["prompts"]]
    print(json.dumps({"tokens": [tokens for tokens, _ in decoded],
                      "log_probabilities": [scores for _, scores in decoded]}))  # fmt: skip


main()
