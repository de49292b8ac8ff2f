"""Runs ONNX Runtime GenAI: builds an ONNX model of one folder after the other in float32, and decodes greedily, one prompt
after the other.

usage: onnxruntime_genai_reader.py <answers.jsonl>, with [{"folder": F, "prompts": [[id, ...], ...], "new_tokens": N}, ...] on
standard input

Writes one line per folder: {"folder": F, "cache_bytes": N, "tokens": [[id, ...], ...], "log_probabilities": [[x, ...], ...]},
or {"folder": F, "error": TEXT} where no model is built or loaded. `cache_bytes` is the size of the keys and values that the
engine holds for POSITIONS tokens.
"""

import json
import subprocess
import sys
import tempfile

import numpy
import onnxruntime_genai

from reader_loop import answer_all

POSITIONS = 128


def build(folder, built):
    """Writes an ONNX model by the engine's own command. Raises what it says last."""
    done = subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", folder, "-o", built, "-p", "fp32",
                           "-e", "cpu", "-c", f"{built}/cache"], capture_output=True, text=True, stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        raise RuntimeError(f"builder: {said[-1].strip()}".replace(f"The {folder} model", "this model"))


def layers_of(folder):
    with open(f"{folder}/genai_config.json") as file:
        return json.load(file)["model"]["decoder"]["num_hidden_layers"]


def log_probability(logits, token):
    logits = numpy.asarray(logits, dtype=numpy.float64).reshape(-1)
    return logits[token] - logits.max() - numpy.log(numpy.exp(logits - logits.max()).sum())


def decode(generator, prompt, new_tokens):
    generator.append_tokens(numpy.array([prompt], dtype=numpy.int32))
    tokens, scores = [], []
    for _ in range(new_tokens):
        logits = generator.get_logits()
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
        scores.append(log_probability(logits, tokens[-1]))
    return tokens, scores


def read(folder, prompts, new_tokens):
    with tempfile.TemporaryDirectory() as built:
        build(folder, built)
        model = onnxruntime_genai.Model(built)
        parameters = onnxruntime_genai.GeneratorParams(model)
        # At least as many as at most: no token ends a continuation.
        parameters.set_search_options(max_length=POSITIONS, min_length=POSITIONS, do_sample=False, batch_size=1)
        tokens, scores = [], []
        for prompt in prompts:
            generator = onnxruntime_genai.Generator(model, parameters)
            decoded = decode(generator, prompt, new_tokens)
            tokens.append(decoded[0])
            scores.append(decoded[1])
        cache = sum(numpy.asarray(generator.get_output(f"present.{layer}.{part}")).nbytes
                    for layer in range(layers_of(built)) for part in ("key", "value"))  # fmt: skip
    return {"cache_bytes": cache, "tokens": tokens, "log_probabilities": scores}


def text_of(error):
    """Returns the message without the engine's own sources, which follow the name of a node."""
    return str(error).split(" Name:")[0] or type(error).__name__


answer_all(read, text_of)
