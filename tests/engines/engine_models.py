"""Makes what the engine tests read: a small model of every family, its conversions by the real programs, and Transformers'
greedy tokens with their log-probabilities for each of these folders.

usage: engine_models.py <regroup> <models' folder> [case...]

The folder gets <case>/source, <case>/k4 and <case>/k2, beside each <folder>.json with the reference. Sources are trained for
STEPS steps on the text of the demonstration.
"""

import json
import pathlib
import shutil
import sys
import tempfile
import zlib

from engine_families import CASES, LAYERS, NEW_TOKENS, ROOT, TARGETS, UNEVEN, targets_of
from engine_runs import is_installed
from engine_table import NAMES

DEMO = ROOT / "deploy/demo"
sys.path += [str(ROOT / "tests/oracle"), str(DEMO)]

import torch  # noqa: E402
import transformers  # noqa: E402

from check_model import texts_of  # noqa: E402
from regroup_programs import Programs, config_of  # noqa: E402
from tiny_families import share_heads  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers  # noqa: E402
from transformers_checks import ENCODER_DECODERS, load, model_class  # noqa: E402

STEPS, WARM_UP, RATE, SEQUENCES, LENGTH, TEXT = 400, 20, 3e-3, 8, 64, 16384
VOCABULARY = 768
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<|endoftext|>")
# Prompts of these lengths, one each.
PROMPT_LENGTHS = (6, 10, 15, 21, 28, 36, 45, 60)
# Greedy decoding is compared where Transformers prefers each of the 40 tokens by at least this much over the next best, in
# nats: engines round differently, and a smaller lead may be lost by rounding alone.
MARGIN = 0.03
# For weights in Q8_0, which usually move log-probabilities by 0.1 to 0.3, prompts of their own: each of the first tokens leads
# by this much. Rounding can still decide a token where attention hesitates: engines_test.py counts the equal prompts.
QUANTISED_TOKENS, QUANTISED_MARGIN = 10, 0.5
# Number of prompts of each length among which such leads are looked for, and how many are decoded at once.
CANDIDATES, BATCH = 2400, 24
# Different tokens in a continuation of 40: one that repeats itself would say little.
DIFFERENT = 8


def folder_name(case):
    return case.replace(", ", "-").replace(": ", "-").replace(" ", "-").replace("_", "-")


def make_tokenizer(folder):
    """Writes a byte-level BPE tokenizer of ASCII only: llama.cpp's server leaves out tokens that are part of a character. The
    last special tokens are those that Transformers' classes for Qwen, GPT-2 and GPT-NeoX would add to the vocabulary. Returns
    the tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = [character for character in pre_tokenizers.ByteLevel.alphabet() if character.isascii()] + ["Ġ", "Ċ"]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=letters,
                                  show_progress=False)  # fmt: skip
    tokenizer.train_from_iterator(texts_of(DEMO / "train.jsonl"), trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast"}))
    return tokenizer


def train(model, tokenizer):
    """Trains on the first TEXT tokens of the demonstration, which the model learns nearly by heart: a token then leads over the
    next best as in a much larger model."""
    stream = torch.tensor([token for encoding in tokenizer.encode_batch(texts_of(DEMO / "train.jsonl"))
                           for token in encoding.ids][:TEXT])  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    model.train()
    for step in range(STEPS):
        starts = torch.randint(0, len(stream) - LENGTH, (SEQUENCES,), generator=generator)
        batch = torch.stack([stream[start : start + LENGTH] for start in starts])
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * (1 - step / STEPS)
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
    model.eval()
    return loss.item()


def make_source(case, folder):
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    model_type, settings = CASES["llama" if case == UNEVEN else case]
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    if case == UNEVEN:
        settings = {**settings, "num_hidden_layers": 2 * LAYERS}
    config = transformers.AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **special, **settings)
    torch.manual_seed(zlib.crc32(case.encode()))
    model = model_class(model_type).from_config(config, dtype=torch.float32)
    loss = train(model, make_tokenizer(folder))
    if case == UNEVEN:
        share_heads(model, (0, 2))
    model.save_pretrained(folder)
    print(f"{case}: loss {loss:.2f} after {STEPS} steps", flush=True)


def greedy_with_leads(model, prompts, new_tokens):
    """Returns tokens, their log-probabilities and their leads over the next best token, [prompts, new_tokens] each; all
    prompts have one length. No token ends a continuation early."""
    ids = torch.tensor(prompts)
    with torch.no_grad():
        done = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=1, pad_token_id=0,
                              max_new_tokens=new_tokens, min_new_tokens=new_tokens, output_logits=True,
                              return_dict_in_generate=True)  # fmt: skip
    logits = torch.stack(done.logits, 1).double()
    tokens = done.sequences[:, ids.shape[1] :]
    assert (logits.argmax(-1) == tokens).all(), "decoding was not greedy"
    best = torch.log_softmax(logits, -1).topk(2, -1).values
    return tokens, best[..., 0], best[..., 0] - best[..., 1]


def prompt_of_length(model, stream, length, new_tokens, margin):
    """Returns the first prompt whose continuation can be compared: without near-ties, without repeating itself, and without
    special tokens, after which an engine may stop."""
    for start in range(0, CANDIDATES, BATCH):
        # Each begins with the begin token, and with another word of the text.
        some = [[0] + stream[11 * number : 11 * number + length - 1] for number in range(start, start + BATCH)]
        for prompt, tokens, scores, leads in zip(some, *greedy_with_leads(model, some, new_tokens)):
            if (leads.min() >= margin and tokens.min() >= len(SPECIAL)
                    and len(set(tokens.tolist())) >= DIFFERENT * new_tokens // NEW_TOKENS):  # fmt: skip
                return {"prompt": prompt, "tokens": tokens.tolist(), "log_probabilities": scores.tolist(),
                        "margin": leads.min().item()}  # fmt: skip
    raise SystemExit(f"none of {CANDIDATES} prompts of {length} tokens leads to a continuation that can be compared")


def reference_of(folder):
    """Returns prompts of each length with their continuations by Transformers: for float32 and for quantised weights."""
    model = load(str(folder))
    model.generation_config.eos_token_id = None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = tokenizer.encode_batch(texts_of(DEMO / "valid.jsonl"), add_special_tokens=False)
    stream = [token for encoding in texts for token in encoding.ids]
    return {kind: [prompt_of_length(model, stream[1000 * number :], length, new_tokens, margin)
                   for number, length in enumerate(PROMPT_LENGTHS)]
            for kind, new_tokens, margin in (("float32", NEW_TOKENS, MARGIN),
                                             ("quantised", QUANTISED_TOKENS, QUANTISED_MARGIN))}  # fmt: skip


def convert(programs, source, folder, kv_heads, per_layer):
    """Converts without training, by principal and by procrustes in turn, and publishes the result as `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    method = {"method": "principal", "similarity": "residual"} if kv_heads == TARGETS[0] else {"method": "procrustes"}
    target = {"kv_heads": kv_heads, **({"per_layer": "auto"} if per_layer else {})}
    with tempfile.TemporaryDirectory() as work:
        made = programs.convert(work, "converted", str(source), kv_heads, target=target, alignment=method,
                                finetune={"method": "none"}, refine={"outputs": kv_heads == TARGETS[0]},
                                calibration={"data": str(DEMO / "train.jsonl"), "sequences": 16,
                                             "sequence_length": 64})  # fmt: skip
        shutil.move(made, folder)


def make_case(programs, case, home):
    base = home / folder_name(case)
    make_source(case, base / "source")
    encoder = config_of(base / "source")["model_type"] in ENCODER_DECODERS
    targets = targets_of(case)
    for name in ["source"] + [f"k{kv_heads}" for kv_heads in targets]:
        folder = base / name
        if name != "source":
            convert(programs, base / "source", folder, int(name[1:]), case == UNEVEN)
        # A reference of an encoder-decoder would have no reader: neither engine gets that far.
        reference = {"float32": [], "quantised": []} if encoder else reference_of(folder)
        (base / f"{name}.json").write_text(json.dumps(reference))
        for kind, prompts in reference.items():
            print(f"{case}, {name}: {len(prompts)} prompts for {kind}, smallest lead "
                  f"{min([one['margin'] for one in prompts], default=0):.3f} nats", flush=True)


def main():
    regroup, home, *cases = sys.argv[1:]
    if not any(map(is_installed, NAMES)):
        print("SKIPPED, nothing was made: no engine is installed (deploy/install.sh --with-engines)")
        sys.exit(77)
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for case in cases or [*CASES, UNEVEN]:
        make_case(Programs(regroup, None), case, pathlib.Path(home).resolve())


if __name__ == "__main__":
    main()
