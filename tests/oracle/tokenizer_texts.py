"""Texts on which tokenizers are compared, made here, and the comparison."""

import json
import os
import unicodedata

from recent_characters import is_recent

SPECIALS = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]


def made_text(rng, count):
    """Returns sentences of invented words, with numbers, contractions, code and a few other scripts."""
    syllables = [a + b for a in "bcdfghklmnprst" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "ou")]
    words = ["".join(rng.choices(syllables, k=rng.randrange(1, 4))) for _ in range(800)]
    words += ["I'm", "don't", "we'll", "they've", "été", "naïve", "Straße", "привет", "世界", "こんにちは", "x = y[0];\n\t"]
    lines = []
    for _ in range(count):
        line = " ".join(rng.choices(words, k=rng.randrange(3, 25)))
        lines.append(rng.choice([line, line.capitalize() + ".", f"{line}, {rng.randrange(10**6)}!", f"  {line}\n\n{line}"]))
    return lines


def odd_characters():
    ranges = [(0, 0x300), (0x300, 0x370), (0x600, 0x650), (0x900, 0x980), (0x1680, 0x1681), (0x180A, 0x1810),
              (0x2000, 0x2070), (0x20A0, 0x20C0), (0x2160, 0x2180), (0x24B0, 0x24F0), (0x3000, 0x3050), (0x4E00, 0x4E20),
              (0xAC00, 0xAC10), (0xE000, 0xE004), (0xFB00, 0xFB07), (0xFE00, 0xFE10), (0xFEFF, 0xFF00), (0xFF10, 0xFF40),
              (0xFFF9, 0x10000), (0x10000, 0x10010), (0x1D400, 0x1D410), (0x1F1E6, 0x1F200), (0x1F600, 0x1F640)]  # fmt: skip
    return [chr(code) for begin, end in ranges for code in range(begin, end)]


def is_settled(code):
    """Returns true for an assigned character with an old decomposition: only some libraries know newer Unicode."""
    category = unicodedata.category(chr(code))
    return category not in ("Cn", "Cs") and not (unicodedata.decomposition(chr(code)) and is_recent(chr(code)))


def test_texts(rng):
    texts = ["", " ", "  ", "\n", "a", " a", "a ", "\t\n \r\n", "'s 'S 'ſ don't DON'T", "1234567890 ¼ Ⅷ ٣", "e\u0301 \u00e9 \u212b \ufb01",
             "<s>", " <s> ", "a<s>b</s>", "<s><s>", "<s", "x <|im_start|>user\nhi<|im_end|> y", "▁a ▁▁ b", "<0x41>", "\u180e \u200b\u200d\u2028"]  # fmt: skip
    texts += made_text(rng, 150)
    odd = odd_characters()
    for _ in range(250):
        pieces = rng.choices([rng.choice(odd), rng.choice(odd) * 3, " ", "\n", "ab", rng.choice(SPECIALS), "12"], k=rng.randrange(1, 30))
        texts.append("".join(pieces) if rng.random() < 0.3 else "".join(rng.choices(odd, k=rng.randrange(1, 60))))
    for _ in range(150):
        texts.append(rng.randbytes(rng.randrange(1, 80)).decode("latin-1"))
        texts.append("".join(chr(c) for c in rng.choices(range(0x11000), k=20) if is_settled(c)))
    texts.append(" ".join(made_text(rng, 2000)))
    return texts


def compare(tool, name, reference, texts, decode=True):
    for text in texts:
        ours = tool(encode=text)
        assert "error" not in ours, (name, text[:200], ours)
        for key, special in (("ids", True), ("ordinary", False)):
            theirs = reference.encode(text, add_special_tokens=special).ids
            assert ours[key] == theirs, f"{name}: {text[:200]!r}\nours   {ours[key][:80]}\ntheirs {theirs[:80]}"
        if decode:
            theirs = reference.decode(ours["ids"], skip_special_tokens=False)
            assert tool(decode=ours["ids"])["text"] == theirs, f"{name}: decoding {text[:200]!r}"
    print(f"{name}: {len(texts)} texts equal")


def save(folder, tokenizer, eos="</s>"):
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(f"{folder}/tokenizer.json")
    with open(f"{folder}/tokenizer_config.json", "w") as file:
        json.dump({"eos_token": eos, "bos_token": {"content": "<s>"}}, file)
