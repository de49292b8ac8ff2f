"""The structure of the tokenizers of public models, as their tokenizer.json describes it: normalizer, pre_tokenizer,
post_processor and settings of the model. Models whose structures are equal stand in one line."""

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
BEFORE, SIGNS, SPACES = r"[^\r\n\p{L}\p{N}]?", r"| ?[^\s\p{L}\p{N}]+[\r\n/]*", r"|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = BEFORE + UPPER + "*" + LOWER + "+" + ENDING + "|" + BEFORE + UPPER + "+" + LOWER + "*" + ENDING + r"|\p{N}{1,3}" + SIGNS + SPACES
TEKKEN = O200K.replace(ENDING, "").replace("{1,3}", "")
KIMI = r"[\p{Han}]+|" + O200K.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip
BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
SEED_CODER = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
ASIAN = "[一-鿿㐀-䶿豈-\ufaff぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿ກ-໿ក-៿က-႟가-힯ᄀ-ᇿ]+"
YOUTU = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"
LETTERS = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-Ⴥ]+"

NFC, NFKC = {"type": "NFC"}, {"type": "NFKC"}
PUNCTUATION = {"type": "Punctuation", "behavior": "Contiguous"}
SPLIT_WHITE = {"type": "WhitespaceSplit"}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def normalizers(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


def byte_level(use_regex=True, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def splits(*patterns):
    return sequence(*map(split, patterns), byte_level(False))


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def replace(text, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: text}, "content": content}


def metaspace(scheme="always", cut=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}


def strip(left, right):
    return {"type": "Strip", "strip_left": left, "strip_right": right}


def template(*items):
    """Returns a post-processor; "$A" stands for the text, other items for tokens that the trained vocabularies have."""
    ids = {"<s>": 1, "</s>": 2, "<unk>": 0}
    single = [{"Sequence": {"id": "A", "type_id": 0}} if item == "$A" else {"SpecialToken": {"id": item, "type_id": 0}} for item in items]
    tokens = {item: {"id": item, "ids": [ids[item]], "tokens": [item]} for item in items if item != "$A"}
    return {"type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": tokens}


def processors(*parts):
    return {"type": "Sequence", "processors": list(parts)}


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
BOS, EOS = template("<s>", "$A"), template("$A", "</s>")
ROBERTA = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": False}
QUOTES = (replace("``", '"'), replace("''", '"'))
SPACE = replace(" ", "▁")
PREPEND = {"type": "Prepend", "prepend": "▁"}

# Byte-level BPE: models, and what differs from a plain byte-level tokenizer.
BYTE_LEVEL = {
    "gpt2, gpt-j, cerebras-gpt, jais": {"pre_tokenizer": byte_level(), "post_processor": BYTES},
    "opt": {"pre_tokenizer": byte_level(), "post_processor": template("</s>", "$A")},
    "gpt-neox, pythia, mpt, dolly": {"normalizer": NFC, "pre_tokenizer": byte_level(), "post_processor": BYTES, "spaces": True},
    "modernbert": {"normalizer": NFC, "pre_tokenizer": byte_level(), "post_processor": template("<s>", "$A", "</s>"), "spaces": True},
    "codegen, phi-1, phi-2": {"pre_tokenizer": byte_level(), "post_processor": BYTES, "spaces": True},
    "roberta, bart, codet5": {"pre_tokenizer": byte_level(), "post_processor": ROBERTA},
    "blenderbot": {"pre_tokenizer": byte_level(prefix=True), "post_processor": {**ROBERTA, "add_prefix_space": True}},
    "whisper": {"pre_tokenizer": byte_level(), "post_processor": template("<s>", "<unk>", "$A", "</s>")},
    "bloom, bloomz, gpt3-finnish, poro": {"pre_tokenizer": splits(BLOOM), "post_processor": BYTES},
    "viking": {"pre_tokenizer": sequence(split(BLOOM), digits(True), byte_level(False))},
    "falcon-7b": {"pre_tokenizer": sequence(PUNCTUATION, byte_level(), digits(False), split("[0-9][0-9][0-9]"))},
    "starcoder, santacoder, smollm, granite-code": {"pre_tokenizer": sequence(digits(True), byte_level())},
    "command-r, aya": {"normalizer": NFC, "pre_tokenizer": sequence(digits(True), byte_level()), "post_processor": BOS},
    "llama-3, smollm3": {"pre_tokenizer": splits(LLAMA3), "post_processor": processors(BYTES, BOS), "ignore_merges": True},
    "stablelm-2, olmo-2": {"pre_tokenizer": splits(LLAMA3)},
    "glm-4": {"pre_tokenizer": splits(LLAMA3), "post_processor": template("<unk>", "<s>", "$A"), "ignore_merges": True},
    "qwen2, qwen3, grok-2": {"normalizer": NFC, "pre_tokenizer": splits(QWEN2), "post_processor": BYTES},
    "dbrx": {"normalizer": NFC, "pre_tokenizer": splits(LLAMA3)},
    "gpt-4, phi-4": {"pre_tokenizer": splits(CL100K)},
    "gpt-4o, gpt-oss, llama-4, phi-4-mini": {"pre_tokenizer": splits(O200K), "ignore_merges": True},
    "mistral-nemo, pixtral, nemotron-h": {"pre_tokenizer": splits(TEKKEN), "post_processor": BOS, "ignore_merges": True},
    "kimi-k2, moonlight": {"pre_tokenizer": splits(KIMI)},
    "ling, ring": {"normalizer": NFC, "pre_tokenizer": splits(BAILING)},
    "seed-coder": {"pre_tokenizer": splits(SEED_CODER)},
    "deepseek-coder": {"pre_tokenizer": sequence(split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-\ud7ff]+"),
                                                 digits(True), byte_level(False))},
    "deepseek-llm": {"pre_tokenizer": sequence(split(r"[\r\n]"), split(LETTERS), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"),
                                               split("[一-龥ࠀ-一가-\ud7ff]+"), digits(True), byte_level(False)), "post_processor": BOS},
    "deepseek-v3, deepseek-r1": {"pre_tokenizer": splits(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3), "post_processor": BOS},
    "trinity": {"pre_tokenizer": splits(r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)", ASIAN, DEEPSEEK3)},
    "superbpe": {"pre_tokenizer": splits(r"\p{N}+", r"(?=(\d{3})+(?!\d))")},
    "exaone-4": {"normalizer": NFC, "pre_tokenizer": splits(YOUTU, O200K.replace("{1,3}", ""))},
    "youtu": {"pre_tokenizer": splits(YOUTU, O200K)},
    "chameleon": {"pre_tokenizer": sequence(split("<sentinel:[0-9]+>"), split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
                                            split(r"([\t\n]|    |  )"), digits(True), split(r"[\p{P}!-/:-@\[-`{-~]"), byte_level()),
                  "post_processor": BOS},
    "byte-level of posix sets": {"pre_tokenizer": splits(r"[[:alpha:]]+|[[:digit:]]{1,3}|[[:punct:]]+|[[:space:]]+")},
    "words, minus digits": {"pre_tokenizer": splits(r"[\w&&[^\d_]]+|[^\w\s]+|\s+|[\d_]")},
    "clip without its suffix": {"normalizer": normalizers(NFC, replace(r"\s+", " ", "Regex"), {"type": "Lowercase"}),
                                "pre_tokenizer": sequence(split(CLIP, "Removed", True), byte_level(False))},
    "xverse": {"normalizer": NFKC, "pre_tokenizer": sequence(split(" ", "MergedWithNext", kind="String"), byte_level(False))},
}  # fmt: skip

# BPE over characters with tokens for bytes, as converted from sentencepiece.
CHARACTERS = {
    "llama-2, mistral-7b, tinyllama, solar": {"normalizer": normalizers(PREPEND, SPACE), "post_processor": BOS},
    "codellama": {"pre_tokenizer": metaspace("first", False), "post_processor": BOS, "strips": True},
    "phi-3": {"normalizer": normalizers(PREPEND, SPACE), "strips": True},
    "mistral-7b-v0.3, mixtral-8x22b": {"pre_tokenizer": metaspace("first", False), "post_processor": BOS},
    "yi": {"normalizer": normalizers(SPACE)},
    "internlm2": {"normalizer": normalizers(PREPEND, SPACE), "post_processor": template("<s>", "$A", "</s>")},
    "gemma, gemma-2, gemma-3": {"normalizer": SPACE, "pre_tokenizer": split(" ", "MergedWithPrevious", kind="String"), "post_processor": BOS},
    "older llama": {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}, "post_processor": BOS},
    "ernie-4.5": {"normalizer": normalizers(replace(" ", "▁"), NFKC), "pre_tokenizer": metaspace("never", False)},
}  # fmt: skip

# Unigram; "charsmap" stands for a normalizer that the trained sentencepiece model gives.
UNIGRAM = {
    "t5, long-t5": {"normalizer": "charsmap", "pre_tokenizer": sequence(SPLIT_WHITE, metaspace()), "post_processor": EOS},
    "flan-t5, mt5, umt5": {"normalizer": normalizers("charsmap", strip(False, True), replace(" {2,}", "▁", "Regex")),
                           "pre_tokenizer": metaspace(), "post_processor": EOS},
    "xlm-roberta, xglm, e5": {"normalizer": "charsmap", "pre_tokenizer": sequence(SPLIT_WHITE, metaspace()), "post_processor": template("<s>", "$A", "</s>")},
    "camembert": {"normalizer": normalizers("charsmap", replace(" {2,}", " ", "Regex")), "pre_tokenizer": sequence(SPLIT_WHITE, metaspace())},
    "pegasus, mbart": {"normalizer": normalizers("charsmap", replace(" {2,}", " ", "Regex")), "pre_tokenizer": metaspace(), "post_processor": EOS},
    "albert": {"normalizer": normalizers(*QUOTES, {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, "charsmap",
                                         replace(" {2,}", " ", "Regex")), "pre_tokenizer": sequence(SPLIT_WHITE, metaspace())},
    "xlnet": {"normalizer": normalizers(*QUOTES, {"type": "NFKD"}, {"type": "StripAccents"}, "charsmap", replace(" {2,}", " ", "Regex")),
              "pre_tokenizer": sequence(SPLIT_WHITE, metaspace()), "post_processor": template("$A", "</s>", "<s>")},
    "deberta-v3": {"normalizer": normalizers(strip(True, True), "charsmap", replace(" {2,}", " ", "Regex")), "pre_tokenizer": metaspace()},
    "rembert, fnet": {"normalizer": normalizers(*QUOTES, NFKC, {"type": "StripAccents"}, replace(" {2,}", " ", "Regex")),
                      "pre_tokenizer": sequence(SPLIT_WHITE, metaspace("first"))},
    "nmt rules": {"normalizer": normalizers({"type": "Nmt"}, NFKC, replace(" {2,}", " ", "Regex")), "pre_tokenizer": metaspace("first")},
    "persimmon, fuyu": {"normalizer": normalizers(PREPEND, SPACE), "byte_fallback": True},
    "mistral's unigram": {"pre_tokenizer": metaspace("first", False), "byte_fallback": True, "post_processor": BOS},
}  # fmt: skip

# Models that are refused: their tokenizer.json, and what the refusal names.
REFUSED = {
    "bert, distilbert, electra": ({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}, 'model "WordPiece"'),
    "bert, a file of an old release": ({"model": {"vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}}, 'model "WordPiece"'),
    "word-level tokenizers": ({"model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}}, 'model "WordLevel"'),
    "openai-gpt": ({"normalizer": {"type": "BertNormalizer"}}, 'normalizer "BertNormalizer"'),
    "clip": ({"end_of_word_suffix": "</w>"}, '"end_of_word_suffix"'),
    "xlm": ({"pre_tokenizer": {"type": "BertPreTokenizer"}}, 'pre_tokenizer "BertPreTokenizer"'),
    "scripts": ({"pre_tokenizer": {"type": "UnicodeScripts"}}, 'pre_tokenizer "UnicodeScripts"'),
}
