"""Shows text that is not ours as text: it may hold characters that steer a terminal or hide what stands beside them."""

from __future__ import annotations

import unicodedata

# Control characters, invisible formatting such as marks of direction, separators of lines and paragraphs, surrogates.
_HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def printable(text: str, line_end: str = "\\n") -> str:
    """Returns the text with every hidden character escaped, as the programs of Regroup do; tabs stay."""
    return "".join(_shown(character, line_end) for character in text)


def _shown(character: str, line_end: str) -> str:
    if character == "\n":
        return line_end
    if character == "\t" or unicodedata.category(character) not in _HIDDEN:
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 0x80 else f"\\u{{{ord(character):x}}}"
