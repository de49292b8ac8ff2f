"""Compares folders whose tokens stand only in tokenizer_config.json, special_tokens_map.json or added_tokens.json with
AutoTokenizer of Transformers: the same ids, begin and end token, or a refusal that names the file.

usage: configured_tokens_oracle.py <tokenizer_tool> <source folder>
"""

import json
import os
import shutil
import sys
import tempfile

import sentencepiece
from transformers import AutoTokenizer

from json_tool import JsonTool

TEXTS = ["Hello world", "a <|im_start|>b", "", "x</s>y", "a <s> b", "the  <x>  word", "<|im_end|> <a><b>", "e<pad>e"]
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True} | flags


def cases(size):
    """Yields a name, the folder's files, and a part of the refusal where the folder must be refused. The tokenizer has
    `size` tokens."""

    def config(**keys):
        return {"tokenizer_config.json": NAMES | keys}

    strips = token("<x>", lstrip=True, rstrip=True, special=False)
    yield "nothing else", config(), None
    yield "a table", config(added_tokens_decoder={str(size): token("<|im_start|>")}), None
    yield "a token of a table that takes spaces", config(added_tokens_decoder={str(size): strips}), None
    yield "other flags than in tokenizer.json", config(added_tokens_decoder={"0": token("<s>", lstrip=True, rstrip=True)}), None
    yield "an id that is not the next", config(added_tokens_decoder={str(size + 5): token("<x>")}), f"config.json: added token \"<x>\" has id {size + 5}"
    yield "a list", config(extra_special_tokens=["<b>", "<a>"]), None
    yield "a list of the older name", config(additional_special_tokens=["<b>", "<|im_start|>"]), None
    yield "both lists", config(additional_special_tokens=["<a>"], extra_special_tokens=["<b>"]), None
    yield "names and tokens", config(extra_special_tokens={"z_token": "<b>", "a_token": "<a>"}), None
    yield "a token of some models", config(image_token="<b>", pad_token="<a>"), None
    yield "two tokens of some models", config(z_token="<b>", a_token="<a>", b_token={**token("<x>"), "__type": "AddedToken"}), None
    yield "an end token that is new", config(eos_token="<|im_end|>"), None
    yield "an end token that is new, with flags", config(eos_token=token("<x>", rstrip=True) | {"__type": "AddedToken"}), None
    yield "special tokens that are split", config(split_special_tokens=True), "config.json: \"split_special_tokens\""
    added = {"<|im_start|>": size + 1, "<|im_end|>": size}
    yield "a file of added tokens", config() | {"added_tokens.json": added}, None
    yield "a file of added tokens, one of them special", config(pad_token="<|im_end|>") | {"added_tokens.json": added}, None
    yield "a file of added tokens with a gap", config() | {"added_tokens.json": {"<a>": size + 1}}, "added_tokens.json: added token"
    yield "a file of added tokens that names an id of tokenizer.json", config() | {"added_tokens.json": {"<a>": 0, "<b>": size}}, None
    yield "a table beside a file", config(added_tokens_decoder={str(size): token("<a>")}) | {"added_tokens.json": {"<b>": size}}, None
    old = {"eos_token": "<s>", "bos_token": "</s>", "additional_special_tokens": ["<a>"], "pad_token": token("<b>", lstrip=True)}
    yield "the older file of special tokens", {"special_tokens_map.json": old}, None
    yield "both files of special tokens", config(additional_special_tokens=["<x>"]) | {"special_tokens_map.json": old}, None
    yield "a table beside the older file", config(added_tokens_decoder={"0": token("<s>")}) | {"special_tokens_map.json": old}, None
    lists = {"extra_special_tokens": ["<a>", "<x>"]}
    yield "lists in both files", config(extra_special_tokens=["<b>", "<a>"]) | {"special_tokens_map.json": lists}, None


def write_folder(folder, template, files):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    for name, content in files.items():
        with open(f"{folder}/{name}", "w") as file:
            json.dump(content, file)


def check(tool, folder, name, refusal, texts=TEXTS):
    loaded = tool(load=folder)
    if refusal:
        assert refusal in loaded.get("error", ""), (name, loaded)
        return
    assert "error" not in loaded, (name, loaded)
    reference = AutoTokenizer.from_pretrained(folder)
    ends = (reference.bos_token_id, reference.eos_token_id)
    assert (loaded["bos"], loaded["eos"], loaded["size"]) == (*ends, len(reference)), (name, loaded, ends, len(reference))
    for text in texts:
        ours, theirs = tool(encode=text)["ids"], reference(text)["input_ids"]
        assert ours == theirs, (name, text, ours, theirs)


def json_template(folder, source):
    os.makedirs(folder)
    shutil.copy(f"{source}/tokenizer.json", folder)
    with open(f"{folder}/config.json", "w") as file:
        json.dump({"model_type": "llama"}, file)
    with open(f"{source}/tokenizer.json") as file:
        return len(json.load(file)["model"]["vocab"])


def sentencepiece_template(folder):
    os.makedirs(folder)
    with open(f"{folder}/corpus.txt", "w") as file:
        file.writelines(f"hello world, the word {i} x y e\n" for i in range(200))
    sentencepiece.SentencePieceTrainer.train(input=f"{folder}/corpus.txt", model_prefix=f"{folder}/tokenizer", vocab_size=290,
                                             model_type="bpe", byte_fallback=True, minloglevel=2, hard_vocab_limit=False,
                                             normalization_rule_name="identity", remove_extra_whitespaces=False)  # fmt: skip
    with open(f"{folder}/config.json", "w") as file:
        json.dump({"model_type": "llama"}, file)
    return sentencepiece.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model").get_piece_size()


def main():
    tool = JsonTool(sys.argv[1])
    with tempfile.TemporaryDirectory() as root:
        size, equal, refused = json_template(f"{root}/json", sys.argv[2]), 0, 0
        for name, files, refusal in cases(size):
            write_folder(f"{root}/case", f"{root}/json", files)
            check(tool, f"{root}/case", name, refusal)
            equal, refused = equal + (not refusal), refused + bool(refusal)
        size = sentencepiece_template(f"{root}/sentencepiece")
        llama = NAMES | {"tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "add_bos_token": True}
        table = {str(size): token("<|im_start|>"), str(size + 1): token("<|im_end|>")}
        for files in ({"tokenizer_config.json": llama}, {"tokenizer_config.json": llama | {"added_tokens_decoder": table}},
                      {"tokenizer_config.json": llama, "added_tokens.json": {"<|im_start|>": size}},
                      {"tokenizer_config.json": llama | {"pad_token": "<pad>"}}):  # fmt: skip
            write_folder(f"{root}/case", f"{root}/sentencepiece", files)
            # Of text after a special token, sentencepiece and Transformers write the first space differently.
            ends = ["hello  world", "x<|im_start|>", "the<|im_end|><|im_start|></s>", "y<pad>", ""]
            check(tool, f"{root}/case", f"tokenizer.model with {sorted(files)}", None, ends)
            equal += 1
    print(f"folders: {equal} equal to AutoTokenizer, {refused} refused by name")


main()
