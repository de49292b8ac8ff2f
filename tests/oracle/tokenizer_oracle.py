"""Compares our tokenizers with the Python packages tokenizers and sentencepiece, id by id.

The tokenizers are trained here on text made here, in the styles of GPT-2, LLaMA-3, Qwen2 and LLaMA-2; the demonstration's
is compared on its text, and so is that of REGROUP_TRAINED_MODELS where it is set.
usage: tokenizer_oracle.py <tokenizer_tool> <source folder> [trained models' folder]
"""

import itertools
import json
import os
import random
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from json_tool import JsonTool
from tokenizer_texts import SPECIALS, compare, made_text, save, test_texts
from trained_models import trained_models


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

def train(tokenizer, corpus, byte_level, size=1500):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def bos_template(tokenizer, eos=False):
    return processors.TemplateProcessing(
        single="<s> $A </s>" if eos else "<s> $A",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )


def byte_level(corpus, pre_tokenizer, normalizer=None, processor=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, corpus, byte_level=True)
    tokenizer.post_processor = processor or bos_template(tokenizer)
    return tokenizer


def split_then_bytes(pattern, *before):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([*before, split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level_styles(corpus):
    yield "gpt2", byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=False), processor=processors.ByteLevel())
    yield "gpt2 prefix space", byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=True))
    llama3 = byte_level(corpus, split_then_bytes(LLAMA3))
    llama3.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos_template(llama3, eos=True)])
    yield "llama3", llama3
    yield "qwen2", byte_level(corpus, split_then_bytes(QWEN2), normalizers.NFC())
    yield "gpt4o", byte_level(corpus, split_then_bytes(GPT4O))
    yield "nfkc", byte_level(corpus, split_then_bytes(QWEN2), normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()]))
    yield "digits", byte_level(corpus, split_then_bytes(r"\s?\w+", pre_tokenizers.Digits(individual_digits=True)))
    yield "digits together", byte_level(corpus, split_then_bytes(r"[^\s\d]+\S", pre_tokenizers.Digits(False), pre_tokenizers.Punctuation()))
    for behavior in ("removed", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            parts = [pre_tokenizers.Split(Regex(r"\p{N}{1,3}+|\W"), behavior, invert), pre_tokenizers.ByteLevel(False, use_regex=False)]
            yield f"{behavior} {invert}", byte_level(corpus, pre_tokenizers.Sequence(parts))
    parts = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("a.", "merged_with_next"), pre_tokenizers.ByteLevel(True)]
    yield "white space and literal", byte_level(corpus, pre_tokenizers.Sequence(parts))
    yield "words", byte_level(corpus, pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False)]))


def ignoring_merges(tokenizer):
    tree = json.loads(tokenizer.to_str())
    tree["model"]["ignore_merges"] = True
    # A word of the vocabulary that its merges do not reach.
    tree["model"]["vocab"]["Ġzyzzyva"] = max(tree["model"]["vocab"].values()) + 1
    return Tokenizer.from_str(json.dumps(tree))


def with_old_merges(tokenizer):
    tree = json.loads(tokenizer.to_str())
    tree["model"]["merges"] = [" ".join(merge) for merge in tree["model"]["merges"]]
    return tree


def llama2_style(corpus, normalizer, pre_tokenizer, decoder, fallback=True, fuse=True):
    """Returns a BPE over characters with one token per byte, as converted from sentencepiece."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse, byte_fallback=fallback))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)],
                                  limit_alphabet=120, show_progress=False)  # fmt: skip
    tokenizer.train_from_iterator(corpus, trainer)
    tree = json.loads(tokenizer.to_str())
    tree["added_tokens"] = [token for token in tree["added_tokens"] if not token["content"].startswith("<0x")]
    if pre_tokenizer is None:
        tree["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(tree))
    tokenizer.decoder = decoder
    tokenizer.post_processor = bos_template(tokenizer)
    return tokenizer


def llama2_styles(corpus):
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    yield "llama2", llama2_style(corpus, prepend, None, decoder)
    for scheme, split in itertools.product(("always", "first", "never"), (True, False)):
        metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
        yield f"metaspace {scheme} {split}", llama2_style(corpus, None, metaspace, decoders.Metaspace(prepend_scheme=scheme))
    for fuse in (False, True):
        metaspace = pre_tokenizers.Metaspace(prepend_scheme="first")
        yield f"unknown, fused {fuse}", llama2_style(corpus, None, metaspace, decoders.Metaspace(), fallback=False, fuse=fuse)
    replace = normalizers.Sequence([normalizers.Replace(Regex(r" {2,}"), " "), normalizers.NFC(), normalizers.Replace(" ", "▁")])
    yield "gemma", llama2_style(corpus, replace, pre_tokenizers.Split(" ", "merged_with_previous"), decoder)


def check_added_tokens(tool, folder, corpus, texts, rng):
    tokenizer = byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC())
    tokenizer.add_tokens([
        AddedToken("word", single_word=True), AddedToken("left", lstrip=True), AddedToken("right", rstrip=True),
        AddedToken("both", lstrip=True, rstrip=True, normalized=False), AddedToken("bothways", normalized=False),
        AddedToken("é", normalized=True), AddedToken("e\u0301x", normalized=True), AddedToken("   ", normalized=False),
    ])  # fmt: skip
    tokenizer.add_special_tokens(["<|end|>", AddedToken("<mask>", lstrip=True, special=True)])
    save(folder, tokenizer)
    tool(load=folder)
    parts = ["word", "left", "right", "both", "bothways", "é", "e\u0301", "x", "<mask>", "<|end|>", " ", "  ", "\n", "\u00a0", ".", "_", "1", "ways"]
    mixed = ["".join(rng.choices(parts, k=rng.randrange(1, 15))) for _ in range(1500)]
    # How added tokens are decoded differs between versions of the package; what they encode to does not.
    compare(tool, "added tokens", Tokenizer.from_file(f"{folder}/tokenizer.json"), mixed + texts, decode=False)


def check_refusals(tool, folder, corpus):
    good = json.loads(byte_level(corpus, pre_tokenizers.ByteLevel(False)).to_str())
    cases = {
        "WordPiece": lambda t: t["model"].update(type="WordPiece"),
        "dropout": lambda t: t["model"].update(dropout=0.1),
        "end_of_word_suffix": lambda t: t["model"].update(end_of_word_suffix="</w>"),
        "BertNormalizer": lambda t: t.update(normalizer={"type": "BertNormalizer"}),
        "UnicodeScripts": lambda t: t.update(pre_tokenizer={"type": "UnicodeScripts"}),
        "RobotProcessing": lambda t: t.update(post_processor={"type": "RobotProcessing"}),
        "this kind of group": lambda t: t.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(?<name>a)"}, "behavior": "Isolated", "invert": False}
        ),
        "needs a token": lambda t: t["model"]["merges"].append(["Q", "qqqq"]),
        "has id 9000, but": lambda t: t["added_tokens"].append({"id": 9000, "content": "<new>", "special": True}),
    }
    for expected, change in cases.items():
        tree = json.loads(json.dumps(good))
        change(tree)
        with open(f"{folder}/tokenizer.json", "w") as file:
            json.dump(tree, file)
        error = tool(load=folder).get("error", "")
        assert expected in error and "tokenizer.json" in error, (expected, error)
    print(f"refusals: {len(cases)}")


def check_sentencepiece(tool, folder, corpus, texts, model_type, file, **options):
    os.makedirs(folder)
    prefix = f"{folder}/{file.split('.')[0]}"
    with open(f"{folder}/corpus.txt", "w") as out:
        out.writelines(line.replace("\n", " ") + "\n" for line in corpus)
    sentencepiece.SentencePieceTrainer.train(input=f"{folder}/corpus.txt", model_prefix=prefix, vocab_size=600, model_type=model_type,
                                             byte_fallback=True, character_coverage=0.99, minloglevel=2, **options)  # fmt: skip
    reference = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/{file}")
    assert "error" not in tool(load=folder)
    before, after = ([reference.bos_id()], []) if file == "tokenizer.model" else ([], [reference.eos_id()])
    count = 0
    for text in texts:
        if "\0" in text or any(special in text for special in ("<s>", "</s>", "<unk>")):
            continue
        ours, theirs = tool(encode=text), reference.encode(text)
        assert ours["ordinary"] == theirs, f"sentencepiece {model_type}: {text[:200]!r}\n{ours['ordinary'][:80]}\n{theirs[:80]}"
        assert ours["ids"] == before + theirs + after
        assert tool(decode=ours["ordinary"])["text"] == reference.decode(theirs), text[:200]
        count += 1
    with_specials = tool(encode="ba<s>ba</s>")["ordinary"]
    assert with_specials == reference.encode("ba") + [reference.bos_id()] + reference.encode("ba") + [reference.eos_id()]
    print(f"sentencepiece {model_type}, {file}: {count} texts equal")


def check_trained(tool, trained):
    for model, folder, _, data in trained:
        reference = Tokenizer.from_file(f"{folder}/tokenizer.json")
        loaded = tool(load=folder)
        eos = reference.token_to_id(json.load(open(f"{folder}/tokenizer_config.json"))["eos_token"])
        assert loaded["eos"] == eos and loaded["size"] == reference.get_vocab_size(), loaded
        texts = [json.loads(line)["text"] for line in open(data)]
        compare(tool, model, reference, texts[:400])
        joined = [i for text in texts for i in reference.encode(text).ids + [eos]]
        expected = [joined[i : i + 256] for i in range(0, len(joined) - 255, 256)]
        for threads in (1, 3):
            assert tool(windows=data, length=256, threads=threads)["windows"] == expected, "windows"
        assert tool(windows=data, length=256, max=7)["windows"] == expected[:7]
        print(f"{model}: {len(expected)} windows equal")


def main():
    rng = random.Random(11)
    tool = JsonTool(sys.argv[1])
    corpus, texts = made_text(rng, 1500), test_texts(rng)
    with tempfile.TemporaryDirectory() as root:
        for index, (name, tokenizer) in enumerate(itertools.chain(byte_level_styles(corpus), llama2_styles(corpus))):
            save(f"{root}/{index}", tokenizer)
            loaded = tool(load=f"{root}/{index}")
            assert loaded.get("eos") == tokenizer.token_to_id("</s>"), (name, loaded)
            compare(tool, name, Tokenizer.from_file(f"{root}/{index}/tokenizer.json"), texts)
        tokenizer = ignoring_merges(byte_level(corpus, pre_tokenizers.ByteLevel(False)))
        save(f"{root}/ignoring", tokenizer)
        tool(load=f"{root}/ignoring")
        compare(tool, "ignore_merges", tokenizer, texts + ["a zyzzyva", "zyzzyva"])
        with open(f"{root}/ignoring/tokenizer.json", "w") as file:
            json.dump(with_old_merges(tokenizer), file)
        tool(load=f"{root}/ignoring")
        compare(tool, "merges as one text", tokenizer, texts)
        check_added_tokens(tool, f"{root}/added", corpus, texts, rng)
        check_refusals(tool, f"{root}/added", corpus)
        check_sentencepiece(tool, f"{root}/sp1", corpus, texts, "bpe", "tokenizer.model", normalization_rule_name="identity")
        check_sentencepiece(tool, f"{root}/sp2", corpus, texts, "unigram", "spiece.model")
    check_trained(tool, trained_models(sys.argv[2], sys.argv[3:]))


main()
