"""Starts the engines in their own environments, and hands back what they decoded and how large they say their KV cache
is."""

import json
import os
import pathlib
import re
import subprocess
import sys

from engine_families import NEW_TOKENS, ROOT

ENVIRONMENTS = ROOT / "build/engines"
# Positions of llama.cpp's cache: a layer's keys and values then fill whole MiB, which its log does not round.
CELLS = 4096


def python_of(engine):
    return ENVIRONMENTS / engine / "bin/python"


def packages_folder(engine):
    [folder] = (ENVIRONMENTS / engine / "lib").glob("python3*/site-packages")
    return folder


def is_installed(engine):
    """deploy/install.sh --with-engines stamps an environment when it is complete."""
    return (ENVIRONMENTS / engine / f".regroup-requirements-{engine}.txt").is_file()


def versions_of(engine, packages):
    """Returns the versions of these packages in the engine's environment."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([python_of(engine), "-c", code, *packages], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def run_reader(engine, python, requests, scratch, environment=None):
    """Returns an answer for each {"folder", "prompts"}, in order, of <engine>_reader.py."""
    answers, log = pathlib.Path(scratch) / f"{engine}.jsonl", ENVIRONMENTS / f"{engine}.log"
    reader = ROOT / f"tests/engines/{engine.replace('-', '_')}_reader.py"
    with open(log, "w") as output:
        done = subprocess.run([python, reader, answers], text=True, stdout=output, stderr=subprocess.STDOUT, env=environment,
                              input=json.dumps([{**one, "new_tokens": NEW_TOKENS} for one in requests]))  # fmt: skip
    lines = [json.loads(line) for line in answers.read_text().splitlines()] if answers.exists() else []
    if done.returncode != 0 or len(lines) != len(requests):
        raise SystemExit(f"{engine} ended with {done.returncode} after {len(lines)} of {len(requests)} folders: {log}\n"
                         + log.read_text()[-3000:])  # fmt: skip
    return lines


def run_vllm(requests, scratch):
    return run_reader("vllm", python_of("vllm"), requests, scratch)


def run_onnxruntime_genai(requests, scratch):
    engine = "onnxruntime-genai"
    return run_reader(engine, sys.executable, requests, scratch, with_packages_of(engine))


def with_packages_of(engine):
    """The environment variables of a program of the oracles' interpreter that imports what an engine's environment has: its
    converter needs torch and Transformers, which need not be there twice."""
    return {**os.environ, "PYTHONPATH": str(packages_folder(engine)), "HF_HUB_OFFLINE": "1"}


def make_gguf(requests):
    """Writes GGUF files; returns what went wrong with each, None for those that are there. See gguf_of.py."""
    with open(ENVIRONMENTS / "gguf.log", "w") as log:
        done = subprocess.run([sys.executable, ROOT / "tests/engines/gguf_of.py"], input=json.dumps(requests), text=True,
                              stdout=subprocess.PIPE, stderr=log, env=with_packages_of("llama-cpp"))  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0 or [one["file"] for one in answers] != [one["file"] for one in requests]:
        raise SystemExit(f"the converter to GGUF ended with {done.returncode}: {log.name}\n"
                         + pathlib.Path(log.name).read_text()[-3000:])  # fmt: skip
    return [one["error"] for one in answers]


def make_compact(file, compact_file):
    """Runs compact_gguf.py; returns what it said."""
    done = subprocess.run([sys.executable, ROOT / "tests/engines/compact_gguf.py", file, compact_file], text=True,
                          capture_output=True, env=with_packages_of("llama-cpp"))  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{file}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def run_llama_cpp(file, prompts, new_tokens=NEW_TOKENS, flash=False):
    """Returns {"tokens", "log_probabilities", "cache_bytes"}, or {"error": TEXT} if llama.cpp does not load the file."""
    done = subprocess.run([python_of("llama-cpp"), ROOT / "tests/engines/llama_cpp_reader.py", file, str(CELLS),
                           *(["flash"] if flash else [])], text=True, capture_output=True,
                          input=json.dumps({"prompts": prompts, "new_tokens": new_tokens}))  # fmt: skip
    if done.returncode != 0:
        said = re.findall(r"(?:error loading model: |GGML_ASSERT)(.*)", done.stderr)
        return {"error": said[0] if said else f"ended with {done.returncode}"}
    answer = json.loads(done.stdout.splitlines()[-1])
    sizes = re.findall(r"llama_kv_cache: size = +([0-9.]+) MiB", done.stderr)
    answer["cache_bytes"] = round(sum(map(float, sizes)) * 2**20)
    return answer
