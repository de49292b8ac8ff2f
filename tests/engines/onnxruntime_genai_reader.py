"""Runs ONNX Runtime GenAI: builds an ONNX model of one folder after the other in float32, and decodes greedily, one prompt
after the other.

usage: onnxruntime_genai_reader.py <answers.jsonl>, with [{"folder": F, "prompts": [[id, ...], ...], "new_tokens": N}, ...] on
standard input

Writes one line per folder: {"folder": F, "cache_bytes": N, "tokens": [[id, ...], ...], "log_probabilities": [[x, ...], ...]},
or {"folder": F, "error": TEXT} where no model is built or loaded. `cache_bytes` is the size of the keys and values that the
engine holds for POSITIONS tokens.
"""

import json
import sys
import tempfile

import numpy
import onnxruntime_genai
from onnxruntime_genai.models.builder import create_model

POSITIONS = 128


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
        # Writes a graph for any architecture that the builder knows, and fails for others.
        create_model(None, folder, built, "fp32", "cpu", f"{built}/cache")
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


def main():
    requests = json.load(sys.stdin)
    with open(sys.argv[1], "w") as answers:
        for request in requests:
            try:
                answer = read(**request)
            except (Exception, SystemExit) as error:  # noqa: BLE001 what cannot be built or loaded is an answer, too
                answer = {"error": f"{error}" or type(error).__name__}
            answers.write(json.dumps({"folder": request["folder"], **answer}) + "\n")
            answers.flush()


main()
