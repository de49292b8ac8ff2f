"""Shows text that is not ours as text: it may hold characters that steer a terminal or hide what stands beside them."""

from __future__ import annotations

import re
import unicodedata

# Control characters, invisible formatting such as marks of direction, separators of lines and paragraphs, surrogates.
_HIDDEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
# Letters and marks that are drawn as nothing, and the supplementary variation selectors.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]")


def printable(text: str, line_end: str = "\\n") -> str:
    """Returns the text with every hidden character escaped, as the programs of Regroup do; tabs stay."""
    return "".join(_shown(character, line_end) for character in text)


def _shown(character: str, line_end: str) -> str:
    if character == "\n":
        return line_end
    if character == "\t" or not (unicodedata.category(character) in _HIDDEN or _INVISIBLE.match(character)):
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 0x80 else f"\\u{{{ord(character):x}}}"
