"""Compares the tokenizers of public models with the Python package tokenizers, id by id: see public_tokenizers.py.

Their vocabularies are trained here, one for each kind of model, because only the structure is compared. Prints how many are
equal and how many are refused by name.
usage: tokenizer_models_oracle.py <tokenizer_tool>
"""

import copy
import io
import json
import os
import random
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import import_protobuf

import public_tokenizers
from json_tool import JsonTool
from recent_characters import is_recent
from tokenizer_texts import compare, made_text, test_texts

SPECIALS = ["<unk>", "<s>", "</s>"]
TEXTS = ["I'm we'll THEY'RE it'S don’t", "12345 6 789 ½ ²", "naïve café e\u0301 ﬁligature", "日本語テキスト、混合 English。", "🙂👩‍👩‍👧 family",
         "<s>in</s> text", "http://x.y/z?q=1&b=2", "#include <stdio.h>\nint main(){return 0;}", "\r\nCRLF\r\n", "``quoted''  twice", "עברית العربية",
         "tab\tand\u00a0nbsp\u3000ideographic\u200bzero", "한국어 ㄱㄴ ㄅㄆ", "(a|b) [c], d! e…f", "<sentinel:12>IMGIMGABZ", "a" * 300]  # fmt: skip


def trained(corpus, model, pre_tokenizer, trainer):
    tokenizer = Tokenizer(model)
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(corpus, trainer)
    return {**json.loads(tokenizer.to_str()), "pre_tokenizer": None}


def byte_level_tree(corpus):
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=SPECIALS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    return trained(corpus, models.BPE(), pre_tokenizers.ByteLevel(False), trainer)


def character_tree(corpus):
    tokens = SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=tokens, limit_alphabet=120, show_progress=False)
    model = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tree = trained(corpus, model, pre_tokenizers.Metaspace(), trainer)
    tree["added_tokens"] = tree["added_tokens"][: len(SPECIALS)]
    return tree


def unigram_tree(corpus):
    """Returns a tokenizer with the vocabulary of a sentencepiece model, whose character map stands as its normalizer."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(line.replace("\n", " ") for line in corpus), model_writer=written,
                                             vocab_size=800, model_type="unigram", character_coverage=0.99, minloglevel=2,
                                             byte_fallback=True)  # fmt: skip
    proto = import_protobuf().ModelProto.FromString(written.getvalue())
    tokenizer = Tokenizer(models.Unigram([(piece.piece, piece.score) for piece in proto.pieces], 0, False))
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    return json.loads(tokenizer.to_str())


def built(base, structure):
    """Returns tokenizer.json of a structure."""
    tree, structure = copy.deepcopy(base), dict(structure)
    charsmap = tree["normalizer"]
    if structure.pop("spaces", False):
        size = len(tree["model"]["vocab"])
        tree["added_tokens"] += [{"id": size + n, "content": " " * (24 - n), "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": True, "special": False} for n in range(23)]  # fmt: skip
    if structure.pop("strips", False):
        tree["added_tokens"][2]["rstrip"] = True
    tree["normalizer"] = structure.pop("normalizer", None)
    if tree["normalizer"] == "charsmap":
        tree["normalizer"] = charsmap
    for part in (tree["normalizer"] or {}).get("normalizers", []):
        if part == "charsmap":
            tree["normalizer"]["normalizers"] = [charsmap if one == "charsmap" else one for one in tree["normalizer"]["normalizers"]]
    for part in ("pre_tokenizer", "post_processor"):
        tree[part] = structure.pop(part, None)
    tree["model"].update(structure)
    return tree


def write_folder(folder, tree):
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/tokenizer.json", "w") as file:
        json.dump(tree, file)


def check_refused(tool, folder, base):
    for name, (change, fragment) in public_tokenizers.REFUSED.items():
        tree = built(base, {}) | {key: value for key, value in change.items() if key in ("model", "normalizer", "pre_tokenizer")}
        tree["model"] = tree["model"] | {key: value for key, value in change.items() if key == "end_of_word_suffix"}
        write_folder(folder, tree)
        error = tool(load=folder).get("error", "")
        assert "tokenizer.json: " + ("model: " if fragment.startswith('"') else "") + fragment in error, (name, error)
        print(f"{name}: refused, {fragment} is not supported")


def main():
    rng = random.Random(13)
    tool = JsonTool(sys.argv[1])
    corpus, texts = made_text(rng, 1500), test_texts(rng)[::2] + TEXTS
    # Which recent characters are letters and marks differs between the libraries' versions of Unicode.
    texts = [text for text in texts if not any(is_recent(c) and unicodedata.category(c)[0] in "LM" for c in text)]
    kinds = ((byte_level_tree(corpus), public_tokenizers.BYTE_LEVEL), (character_tree(corpus), public_tokenizers.CHARACTERS),
             (unigram_tree(corpus), public_tokenizers.UNIGRAM))  # fmt: skip
    structures = {}
    with tempfile.TemporaryDirectory() as folder:
        for base, named in kinds:
            for name, structure in named.items():
                tree = built(base, structure)
                same = structures.setdefault(json.dumps(tree, sort_keys=True), name)
                assert same == name, f"{name} has the structure of {same}"
                write_folder(folder, tree)
                loaded = tool(load=folder)
                assert "error" not in loaded, (name, loaded)
                compare(tool, name, Tokenizer.from_file(f"{folder}/tokenizer.json"), texts, decode=False)
        check_refused(tool, folder, kinds[0][0])
    models_named = sum(len(name.split(", ")) for _, named in kinds for name in named)
    print(f"structures: {len(structures)} equal (of {models_named} models), {len(public_tokenizers.REFUSED)} refused by name")


main()
