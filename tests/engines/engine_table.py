#!/usr/bin/env python3
"""The table of engines and families: kept in results.json, which engines_test.py writes, and shown in README.md.

    python3 tests/engines/engine_table.py --write      # writes the table in README.md
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results.json", HERE / "README.md"
BEGIN, END = "<!-- engine_table.py writes from here -->", "<!-- to here -->"
NAMES = {"vllm": "vLLM", "llama-cpp": "llama.cpp", "onnxruntime-genai": "ONNX Runtime GenAI"}
# Outcomes in results.json, and the words of the table.
OUTCOMES = {
    "works": "works",
    "same cache": "same tokens, but the cache of the source",
    "differs": "differs from Transformers",
    "refused": "does not load",
}
# Said by a converter that reads SentencePiece's file only, which the tests' models do not have.
NEEDS_SENTENCEPIECE = re.compile(r"source: converter: .*\btokenizer\.model$")
# The word for `regroup families`, where there is room for one word.
WORDS = {"works": "yes", "same cache": "same cache", "differs": "no", "refused": "no"}
COMPACT_WORD = "compacted"


def read_results():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def write_results(engine, versions, outcomes):
    results = read_results()
    cases = {**results.get(engine, {}).get("cases", {}), **outcomes}
    results[engine] = {"versions": versions, "cases": cases}
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    if PAGE.exists():
        write_page()


def word_of(outcome):
    if NEEDS_SENTENCEPIECE.match(outcome.get("reason", "")):
        return "not tried"
    return COMPACT_WORD if "compact" in outcome else WORDS[outcome["outcome"]]


def cell_of(outcome):
    text = OUTCOMES[outcome["outcome"]]
    if "reason" in outcome:
        text += f" ({outcome['reason']})"
    if "q8_0" in outcome:
        text += "; Q8_0: {equal} of {prompts} prompts".format(**outcome["q8_0"])
    if "compact" in outcome:
        text += "; works after `compact_gguf.py`"
    cache = outcome.get("compact") or (outcome.get("cache") if outcome["outcome"] == "works" else None)
    return text + ("; cache " + " → ".join(f"{value:,}" for value in cache.values()) if cache else "")


def table():
    results = read_results()
    engines = [engine for engine in NAMES if engine in results]
    lines = ["| model | " + " | ".join(NAMES[engine] for engine in engines) + " |", "|---" * (len(engines) + 1) + "|"]
    for case in results[engines[0]]["cases"]:
        cells = [cell_of(results[engine]["cases"][case]).replace("|", "\\|") for engine in engines]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    versions = [f"{NAMES[engine]}: " + ", ".join(f"`{name}` {version}" for name, version in results[engine]["versions"].items())
                for engine in engines]  # fmt: skip
    return "\n".join([*lines, "", "Versions. " + ". ".join(versions) + "."])


def split_page():
    before, rest = PAGE.read_text().split(BEGIN + "\n")
    written, after = rest.split(END)
    return before, written.strip("\n"), after


def write_page():
    before, _, after = split_page()
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write_page()
