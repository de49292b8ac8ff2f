"""Compares what a pattern of tokenizer.json matches with Oniguruma, as the Python package tokenizers calls it.

usage: tokenizer_patterns_oracle.py <tokenizer_tool> [number of made patterns]
"""

import collections
import random
import re
import sys
import unicodedata

from tokenizers import Regex, pre_tokenizers

from json_tool import JsonTool
from recent_characters import is_recent

CLASSES = [r"\p{L}", r"\p{N}", r"\s", r"\w", r"\d", r"\p{Lu}", r"\p{Ll}", r"\p{M}", r"\p{P}", r"\p{S}", r"\p{Han}", r"\p{Z}",
           r"[^\s\p{L}\p{N}]", r"\S", r"\W", r"[^\S]", r"[\S]", r"\h", r"\H", r"(?i:s)", r"(?i:k)", r".", r"^a", r"[\r\n]",
           r"[\w]", r"[\W]", r"[\H]", r"\p{^L}", r"\p{Letter}", r"\p{Punctuation}", r"[\w&&[^\d]]", r"\b.",
           r".\B", r"[[:alpha:]&&\P{M}]", r"[[:alnum:]&&\P{M}]", "[[:blank:]]", "[[:cntrl:]]", "[[:digit:]]", "[[:lower:]]", "[[:punct:]]",
           "[[:space:]]", "[[:upper:]]", "[[:word:]]", "[[:xdigit:]]", r"[[:^alpha:]&&\P{M}]", "[[:ascii:]]",
           r" ?[^(\s|[.,!?…。，、।۔،])]+"]  # fmt: skip
MEMBERS = [*"abzAZ09 ^]-&.|(){}?*+,'\"#/:é日\n", "\\]", "\\[", "\\-", "\\\\", "\\^", "a-z", "0-9", "A-F", "!-/", "à-ÿ", r"\s", r"\S", r"\w",
           r"\W", r"\d", r"\D", r"\h", r"\H", r"\p{L}", r"\P{L}", r"\p{^N}", r"\p{Han}", "[:alpha:]", "[:^digit:]", "[:punct:]",
           "[:upper:]", "[:space:]", "\\n", "\\x41", "\\u00e9", "&&", "&&"]  # fmt: skip
SAMPLE = "".join(map(chr, range(1, 0x180))) + "日本ſKßẞʼ²½Ⅷ٣\u0301\u200d\u3000\u2028ΣςΩαБя"


def matches_of_tokenizers(pattern, text):
    """Returns the matched pieces; None for a pattern that Oniguruma refuses."""
    try:
        split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    except Exception:
        return None
    return [piece for piece, _ in split.pre_tokenize_str(text)]


def our_matches(tool, pattern, text):
    """Returns the matched pieces, or the text of a refusal."""
    answer, data = tool(match=pattern, text=text), text.encode()
    if "error" in answer:
        return answer["error"]
    return [data[begin:end].decode() for begin, end in answer["matches"] if begin < end]


def check_classes(tool):
    """Compares every character with the classes that patterns use. New letters, and which marks are alphabetic, differ
    with the libraries' Unicode versions, so only characters are compared that were assigned before Python's data."""
    codes = [c for c in range(0x30000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"]
    text = "".join(map(chr, codes))
    for pattern in CLASSES:
        ours, theirs = our_matches(tool, pattern, text), matches_of_tokenizers(pattern, text)
        assert isinstance(ours, list) and theirs is not None, (pattern, ours)
        different = set("".join(ours)) ^ set("".join(theirs))
        newer = {c for c in different if unicodedata.name(c, "") and is_recent(c)}
        assert different <= newer, (pattern, sorted(map(ascii, different - newer))[:20], len(different))
        if different:
            print(f"pattern {pattern}: {len(different)} characters of recent Unicode versions differ")
    print(f"classes: {len(CLASSES)} equal")


def made_set(rng, depth=0):
    inner = [made_set(rng, depth + 1) if depth < 3 and rng.random() < 0.3 else rng.choice(MEMBERS) for _ in range(rng.randrange(1, 5))]
    return "[" + ("^" if rng.random() < 0.3 / (depth + 1) else "") + "".join(inner) + "]"


def made_pattern(rng):
    before, after = rng.choice([("", ""), ("", ""), ("", ""), ("(?i)", ""), ("(?i:", ")"), (r"\b", ""), ("x?", ""), ("(?:a|", ")")])
    return before + made_set(rng) + after + rng.choice(["", "", "+", "{1,2}+", "*?", "++", r"\b"])


def check_made_patterns(tool, count):
    rng, equal, refused = random.Random(5), 0, collections.Counter()
    for pattern in (made_pattern(rng) for _ in range(count)):
        ours, theirs = our_matches(tool, pattern, SAMPLE), matches_of_tokenizers(pattern, SAMPLE)
        if theirs is None:
            refused["refused by Oniguruma too"] += 1
        elif isinstance(ours, str):
            refused[re.sub(r'^.*": (.*?)( at byte.*)?$', r"\1", ours, flags=re.DOTALL)] += 1
            assert "is not supported" in ours, (pattern, ours)
        else:
            assert ours == theirs, (pattern, ours, theirs)
            equal += 1
    print(f"made patterns: {equal} of {count} equal, refused by name: {dict(refused)}")
    assert equal > 0.7 * count


def main():
    tool = JsonTool(sys.argv[1])
    check_classes(tool)
    check_made_patterns(tool, int(sys.argv[2]) if len(sys.argv) > 2 else 3000)


main()
