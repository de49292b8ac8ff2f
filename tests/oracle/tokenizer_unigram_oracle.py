"""Compares Unigram tokenizers with the Python package tokenizers, id by id, and the one of T5 with Transformers too.

A sentencepiece model is trained here on text made here. Its vocabulary and its character map then stand in a tokenizer.json
as Transformers 5 saves it for T5, and in other forms that converters have written.
usage: tokenizer_unigram_oracle.py <tokenizer_tool>
"""

import base64
import itertools
import json
import os
import random
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from json_tool import JsonTool
from recent_characters import is_recent
from tokenizer_texts import compare, made_text, test_texts

SPACES = ["a  b   c", "  a", "a\r\nb", "a\u3000b\u00a0c", "e\u0301\u0301x", "ﬁ ﷺ ½ ①", "\u1100\u1161\u11a8", "क्षि", "👩‍👩‍👧", "x" * 3000, "ßé" * 700]


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


def saved_t5(folder, corpus):
    """Trains a sentencepiece model as T5's is, and has Transformers save the tokenizer. Returns the folder."""
    os.makedirs(folder)
    with open(f"{folder}/corpus.txt", "w") as out:
        out.writelines(line.replace("\n", " ") + "\n" for line in corpus)
    sentencepiece.SentencePieceTrainer.train(input=f"{folder}/corpus.txt", model_prefix=f"{folder}/spiece", vocab_size=600,
                                             model_type="unigram", character_coverage=0.99, minloglevel=2, pad_id=0, eos_id=1,
                                             unk_id=2, bos_id=-1)  # fmt: skip
    write_json(f"{folder}/config.json", {"model_type": "t5"})
    write_json(f"{folder}/tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>"})
    AutoTokenizer.from_pretrained(folder).save_pretrained(f"{folder}/saved")
    write_json(f"{folder}/saved/config.json", {"model_type": "t5"})
    return f"{folder}/saved"


def check_t5(tool, folder, texts):
    loaded = tool(load=folder)
    reference = AutoTokenizer.from_pretrained(folder)
    assert loaded["eos"] == reference.eos_token_id and loaded["size"] == len(reference), loaded
    compare(tool, "T5 as Transformers saves it", Tokenizer.from_file(f"{folder}/tokenizer.json"), texts)
    for text in texts:
        assert tool(encode=text)["ids"] == reference(text)["input_ids"], text[:200]
    print(f"T5, next to AutoTokenizer: {len(texts)} texts equal")


def normalizer_styles(charsmap):
    yield "none", None
    yield "precompiled", normalizers.Precompiled(charsmap)
    yield "mT5", normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True),
                                       normalizers.Replace(Regex(" {2,}"), "▁")])  # fmt: skip
    yield "nmt", normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    yield "lower case", normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    yield "bytes", normalizers.ByteLevel()


def pre_tokenizer_styles():
    yield "T5", pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    yield "metaspace", pre_tokenizers.Metaspace(prepend_scheme="first")
    yield "whole", pre_tokenizers.Metaspace(prepend_scheme="always", split=False)


def check_styles(tool, folder, tree, texts):
    vocab = [tuple(entry) for entry in tree["model"]["vocab"]]
    with_bytes = vocab[:3] + [(f"<0x{byte:02X}>", 0.0) for byte in range(256)] + vocab[3:]
    charsmap = base64.b64decode(tree["normalizer"]["precompiled_charsmap"])
    styles = itertools.product(normalizer_styles(charsmap), pre_tokenizer_styles(), (False, True))
    for (normalised, normalizer), (cut, pre_tokenizer), fallback in styles:
        tokenizer = Tokenizer(models.Unigram(with_bytes if fallback else vocab, 2, fallback))
        if normalizer is not None:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoders.Metaspace()
        tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        tokenizer.save(f"{folder}/tokenizer.json")
        # Which recent characters are marks differs between the libraries' versions of Unicode.
        known = [t for t in texts if not any(is_recent(c) and unicodedata.category(c)[0] == "M" for c in t)]
        assert tool(load=folder)["size"] == len(tokenizer.get_vocab()), "vocabulary"
        compare(tool, f"{normalised}, {cut}, byte fallback {fallback}", tokenizer, known)


def check_refusals(tool, folder, tree):
    cases = {
        'model "WordPiece" is not supported; BPE and Unigram are': {"model": {"type": "WordPiece", "vocab": {"a": 0}}},
        'model "WordLevel" is not supported; BPE and Unigram are': {"model": {"type": "WordLevel", "vocab": {"a": 0}}},
        '"alpha" makes the tokens random': {"model": {**tree["model"], "alpha": 0.1}},
        "vocab is empty": {"model": {"type": "Unigram", "vocab": []}},
        "entry 1 of vocab": {"model": {"type": "Unigram", "vocab": [["a", 0.5], ["b"]]}},
        "unk_id 5000 is not": {"model": {**tree["model"], "unk_id": 5000}},
        "precompiled_charsmap is truncated": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "precompiled_charsmap is not base64": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}},
    }
    for expected, change in cases.items():
        write_json(f"{folder}/tokenizer.json", {**tree, **change})
        error = tool(load=folder).get("error", "")
        assert expected in error and "tokenizer.json" in error, (expected, error)
    write_json(f"{folder}/tokenizer.json", {**tree, "added_tokens": [], "post_processor": None, "normalizer": None,
                                            "model": {"type": "Unigram", "vocab": [["a", 0.5], ["▁", 0]]}})  # fmt: skip
    assert "error" not in tool(load=folder) and tool(encode="a a")["ids"] == [1, 0, 1, 0]
    assert '"b" has no token' in tool(encode="ab")["error"]
    print(f"refusals: {len(cases) + 1}")


def main():
    rng = random.Random(11)
    tool = JsonTool(sys.argv[1])
    corpus, texts = made_text(rng, 1500), test_texts(rng) + SPACES
    with tempfile.TemporaryDirectory() as root:
        saved = saved_t5(f"{root}/t5", corpus)
        check_t5(tool, saved, texts)
        with open(f"{saved}/tokenizer.json") as file:
            tree = json.load(file)
        os.makedirs(f"{root}/styles")
        check_styles(tool, f"{root}/styles", tree, texts[::3] + SPACES)
        check_refusals(tool, f"{root}/styles", tree)


main()
