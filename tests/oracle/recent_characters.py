"""Tells which characters the libraries of our tokenizer_tool may know differently."""

import unicodedata


def is_recent(character):
    """Returns true for a character that Unicode 3.2 did not have yet."""
    return unicodedata.ucd_3_2_0.category(character) == "Cn"
