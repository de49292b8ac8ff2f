#!/usr/bin/env python3
"""Compares how fast an inference engine decodes a source and its result, in turns, beside the ratio of the bytes read.

    build/venv/bin/python tests/bench/engine_bench.py vllm|llama-cpp [--model FOLDER --kv-heads N] [--contexts 512,2048]

Without --model: a random LLaMA of width 1024 x 8 layers, 16 heads to 4, as decode_bench measures. A real one:
--model build/real_model/source --kv-heads 1 (tests/real_model/README.md). The result is converted without training, since
only its shape decides the speed. Needs deploy/install.sh --with-oracles --with-engines. Prints, for each context, tokens per
second with the same number of requests, and with as many as fit into the same cache. A step reads all weights and the
cache of every request once. The column "by bytes" is the ratio if every byte took the same time; the two last lines say how
long a GB of weights and one of cache took, by least squares over the rows, because an engine may read the cache more slowly.

--device cuda computes in bfloat16 on a GPU, with the environment of an engine that was built for it (--python).
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy
import training_cases
from trained_model import ROOT

sys.path.append(str(ROOT / "tests/engines"))
from engine_runs import make_gguf, python_of  # noqa: E402

DEMO = ROOT / "deploy/demo"
# Tokens of a block of vLLM's cache on CPUs; on GPUs blocks are smaller.
VLLM_BLOCK = 128
RANDOM = {"num_hidden_layers": 8, "vocab_size": 4096, "max_position_embeddings": 8192}


class Subject:
    """The source or the result in an engine of its own process."""

    def __init__(self, command, log):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.cache_tokens = self.answer()["cache_tokens"]

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line[7:])
        raise SystemExit(f"the engine ended with {self.process.wait()}; see its log")

    def step_seconds(self, requests, context, steps):
        self.process.stdin.write(json.dumps({"requests": requests, "context": context, "steps": steps}) + "\n")
        self.process.stdin.flush()
        return statistics.median(self.answer()["seconds"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("vllm", "llama-cpp"))
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--contexts", default="512,2048")
    parser.add_argument("--requests", type=int, default=4, help="of the comparison with equal numbers")
    parser.add_argument("--steps", type=int, default=16, help="steps to time in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cache-gib", type=int, default=1, help="size of both caches")
    parser.add_argument("--most-requests", type=int, default=256, help="no more at once, however many fit")
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp; OMP_NUM_THREADS sets vLLM's")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--python", help="the interpreter of another environment of the engine")
    parser.add_argument("--programs", type=pathlib.Path, default=ROOT / "build/release/bin")
    parser.add_argument("--log", type=pathlib.Path, default=ROOT / "build/engines/bench.log")
    return parser.parse_args()


def make_folders(arguments, work):
    """Returns the folders of source and result."""
    source = arguments.model
    if source is None:
        source = work / "source"
        training_cases.write_wide_model(source, **RANDOM)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(DEMO / "model" / name, source / name)
    job = {"name": "engine-bench", "source": {"checkpoint": str(source.resolve())},
           "target": {"kv_heads": arguments.kv_heads}, "output": {"checkpoint": str(work / "result")},
           "alignment": {"method": "none"}, "refine": {"outputs": False}, "finetune": {"method": "none"},
           "calibration": {"data": str(DEMO / "train.jsonl"), "sequences": 1, "sequence_length": 64}}
    (work / "job.yaml").write_text(json.dumps(job))
    done = subprocess.run([arguments.programs / "regroup", "run", work / "job.yaml", "--work-dir", work / "regroup"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [source.resolve(), work / "result"]


def bytes_of(folder, device):
    """Returns the bytes of the weights that a step reads, and of the cache per token."""
    config = json.loads((folder / "config.json").read_text())
    size = 4 if device == "cpu" else 2
    heads, width, hidden = config["num_attention_heads"], config["head_dim"], config["hidden_size"]
    block = (2 * heads + 2 * config["num_key_value_heads"]) * width * hidden + 3 * hidden * config["intermediate_size"]
    weights = config["num_hidden_layers"] * block + config["vocab_size"] * hidden
    return size * weights, size * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * width


def start(arguments, folder, work, gib, requests, context):
    """Starts an engine with a cache of `gib`. llama.cpp divides it among `requests` slots, vLLM as requests come."""
    script = str(ROOT / "tests/bench/engine_decode.py")
    python = arguments.python or python_of(arguments.engine)
    log = open(arguments.log, "a")
    if arguments.engine == "vllm":
        # Requests that begin first decode while others are read.
        positions = 2 * context + 4 * arguments.steps
        return Subject([python, script, "vllm", folder, str(gib), str(positions), arguments.device], log)
    file = work / f"{folder.name}.gguf"
    if not file.exists():
        [error] = make_gguf([{"folder": str(folder), "file": str(file),
                              "kind": "f32" if arguments.device == "cpu" else "bf16"}])
        if error:
            raise SystemExit(f"{folder}: {error}")
    return Subject([python, script, "llama-cpp", file, str(requests * context), str(requests), str(arguments.threads),
                    arguments.device], log)


def measure(arguments, folders, work, context, requests):
    """Times both subjects in turns, each with its number of requests; returns the median seconds of a step of each."""
    subjects = [start(arguments, folder, work, arguments.cache_gib, number, context)
                for folder, number in zip(folders, requests)]
    seconds = [[], []]
    for turn in range(arguments.turns + 1):
        for subject, taken, number in zip(subjects, seconds, requests):
            step = subject.step_seconds(number, context - arguments.steps, arguments.steps)
            if turn > 0:  # the first compiles and warms up
                taken.append(step)
    for subject in subjects:
        subject.close()
    return [statistics.median(taken) for taken in seconds]


def print_row(context, requests, seconds, sizes):
    rates = [number / taken for number, taken in zip(requests, seconds)]
    by_bytes = [number / (weights + number * context * token) for number, (weights, token) in zip(requests, sizes)]
    print(f"| {context} | {requests[0]} | {requests[1]} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[1] / rates[0]:.2f} | "
          f"{by_bytes[1] / by_bytes[0]:.2f} |", flush=True)


def print_time_per_byte(name, rows):
    """Fits the seconds of a step to its bytes of weights and of cache, from (weights, cache, seconds) of each row."""
    table = numpy.array(rows)
    (weights, cache), *_ = numpy.linalg.lstsq(table[:, :2] / 1e9, table[:, 2], rcond=None)
    print(f"{name}: {1e3 * weights:.0f} ms per GB of weights, {1e3 * cache:.0f} ms per GB of cache", flush=True)


def main():
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(scratch)
        folders = make_folders(arguments, work)
        sizes = [bytes_of(folder, arguments.device) for folder in folders]
        print(f"{arguments.engine} on {training_cases.machine() if arguments.device == 'cpu' else arguments.device}; "
              f"{folders[0]}: cache per token {sizes[0][1]:,} B, of the result {sizes[1][1]:,} B; caches of "
              f"{arguments.cache_gib} GiB, {arguments.turns} turns of {arguments.steps} steps\n")
        print("| context | requests, source | result | tokens/s, source | result | ratio | by bytes |")
        print("|---|---|---|---|---|---|---|", flush=True)
        rows = [[], []]
        for context in map(int, arguments.contexts.split(",")):
            # vLLM decodes some requests while it still reads others, so that each needs room for more than its context, in
            # whole blocks.
            room = context
            if arguments.engine == "vllm":
                room = -(-(context + 4 * arguments.steps) // VLLM_BLOCK) * VLLM_BLOCK
            fitting = [min(arguments.most_requests, arguments.cache_gib * 2**30 // token // room) for _, token in sizes]
            same = min(arguments.requests, fitting[0])
            for requests in ([same, same], fitting):
                seconds = measure(arguments, folders, work, context, requests)
                print_row(context, requests, seconds, sizes)
                for of_subject, number, taken, (weights, token) in zip(rows, requests, seconds, sizes):
                    of_subject.append((weights, number * context * token, taken))
        print()
        for name, of_subject in zip(("source", "result"), rows):
            print_time_per_byte(name, of_subject)


if __name__ == "__main__":
    main()
