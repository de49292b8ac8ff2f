"""Compares how Regroup and Transformers read config.json, on generated folders (config_cases.py).

A case is right if the logits are equal, or if Regroup refuses the folder by the name of a key or tensor of the case and
either Transformers rejects it too or the refusal is one of those in REFUSED below.

usage: config_oracle.py <regroup> <logits_tool> [case...]
Runs a fixed part of the cases; REGROUP_TEST_CONFIGS=N another number of them, 0 all.
"""

import collections
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
import transformers

from config_cases import BASES, all_cases
from config_checkpoints import make_config_checkpoint
from regroup_programs import Programs
from tiny_checkpoints import texts_of, train_tokenizer, write_text
from transformers_checks import AUDIO, logits_of, model_class, relative_difference

TOLERANCE = 1e-4
SHORT = 450

# Regular expressions for "family/case": settings that Regroup does not compute (trainer/families/README.md lists them).
REFUSED = (r".*/(hidden_act|hidden_activation|activation_function)-(quick_gelu|tanh)", r".*/yarn-attention_factor-0", r".*/longrope-(words|zero)-.*", r"cohere/cohere-norm", r"opt/(affine|norm-after|projected)", r"(bart|mbart|pegasus|marian|m2m_100|whisper)/(heads|widths)-differ", r"marian/not-shared", r"t5gemma/encoder-.*-differs", r"gpt_bigcode/many-queries",
           r"gpt_neox/head-dim-[68]", r"nemotron/head-dim-6", r"whisper/num_key_value_heads-2")  # fmt: skip
# Transformers needs T5's first token only to shift labels, and takes the pad token, 0, to generate. Mistral's class
# does not read layer_types, but fails on null. Phi-3's first checkpoints call longrope `su`. Classes with windows want one even if no layer has it.
# mBART's first token is that of a language, which the caller chooses; Regroup reads texts with the end token there. T5Gemma
# begins with the begin token of its decoder.
ACCEPTED = (r"t5/(start|decoder_start_token_id)-absent", r"(bart|mbart|pegasus|marian|m2m_100)/decoder_start_token_id-null",
            r"mbart/decoder_start_token_id-absent", r"t5gemma/decoder_start_token_id-(absent|null)", r"mistral/layer_types-null", r"phi3/longrope-old-name-.*",
            r"(gemma2|gemma3_text|olmo3|cohere2)/layer-types-full-no-window")  # fmt: skip


def transformers_logits(folder, family, tokens):
    """Returns Transformers' logits, or the reason why it does not have any: an error, or weights that it would have to
    invent."""
    try:
        model, info = model_class(family).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
        for kind in ("missing_keys", "mismatched_keys"):
            if info[kind]:
                return None, f"{kind}: {sorted(info[kind])[:2]}"
        logits = logits_of(model.eval(), tokens)
    except Exception as error:  # each kind of mistake raises its own
        return None, f"{type(error).__name__}: {error}"
    return (logits, "") if logits.isfinite().all() else (None, "logits that are not finite")


class Outcomes:
    """Counts what the two did, and keeps a line for every case that is wrong."""

    def __init__(self):
        self.counts = collections.Counter()
        self.families = collections.Counter()
        self.wrong = []

    def add(self, case, ours, refusal, theirs, reason):
        """Judges one case: our logits or our refusal, Transformers' logits or the reason why there are none."""
        self.families[case.family] += 1
        label = f"{case.family}/{case.name}"
        named = [word for word in case.words() if word in refusal]
        if refusal and not named:
            self.wrong.append(f"{label}: the refusal names neither key nor tensor: {refusal}")
        elif theirs is None:
            self.add_rejected(case, label, refusal, reason)
        elif refusal:
            known = any(re.fullmatch(pattern, label) for pattern in REFUSED)
            self.counts["refused, as documented"] += known
            if not known:
                self.wrong.append(f"{label}: refused, but Transformers loads it: {refusal}")
        else:
            difference = relative_difference(ours, theirs)
            self.counts["equal logits"] += difference < TOLERANCE
            if not difference < TOLERANCE:
                self.wrong.append(f"{label}: logits differ by {difference:.1e} of the largest")

    def add_rejected(self, case, label, refusal, reason):
        accepted = any(re.fullmatch(pattern, label) for pattern in ACCEPTED)
        if refusal or accepted:
            self.counts["refused by both" if refusal else "accepted by Regroup alone, as documented"] += 1
        else:
            self.wrong.append(f"{label}: accepted, but Transformers rejects it: {reason[:200]}")


def compare(logits_tool, work, cases, outcomes):
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(0, 48, (2, 24), generator=generator)
    # The bits of a spectrogram, and tokens.
    size = 2 * BASES["whisper"]["num_mel_bins"] * BASES["whisper"]["max_source_positions"]
    spectrograms = torch.randn(2, size, generator=generator).view(torch.int32).long()
    inputs = {True: torch.cat([spectrograms, tokens], 1), False: tokens}
    theirs = []
    for number, case in enumerate(cases):
        make_config_checkpoint(f"{work}/{number}", case)
        theirs.append(transformers_logits(f"{work}/{number}", case.family, inputs[case.family in AUDIO]))
    for audio, entries in inputs.items():
        with open(f"{work}/tokens.json", "w") as file:
            json.dump(entries.tolist(), file)
        folders = "".join(f"{work}/{number}\n" for number, case in enumerate(cases) if (case.family in AUDIO) == audio)
        subprocess.run([logits_tool, "--each", f"{work}/tokens.json"], input=folders, text=True, check=True, timeout=1200)
    for number, (case, (logits, reason)) in enumerate(zip(cases, theirs)):
        refusal, ours = "", None
        if os.path.exists(f"{work}/{number}/refusal.txt"):
            with open(f"{work}/{number}/refusal.txt") as file:
                refusal = file.read()
        else:
            ours = safetensors.torch.load_file(f"{work}/{number}/logits.safetensors")["logits"]
        outcomes.add(case, ours, refusal, logits, reason)


def check_inspect(regroup, work):
    """Checks that `regroup inspect` itself refuses what the tool refuses, naming folder, key and the way out."""
    case = all_cases()["llama/rope-unknown-type"]
    make_config_checkpoint(f"{work}/inspected", case)
    done = subprocess.run([regroup, "inspect", f"{work}/inspected"], capture_output=True, text=True, timeout=60)
    words = (f"{work}/inspected/config.json", "rope type 'su' in 'rope_scaling' is not supported", "llama3")
    assert done.returncode != 0 and all(word in done.stdout + done.stderr for word in words), done


def check_conversions(programs, work):
    """Checks that a conversion that merges nothing keeps the logits where the tensors, or keys that are written twice,
    decide what the model is."""
    write_text(f"{work}/text.jsonl", 60, seed=1)
    for name in ("llama/head-different-tied-True", "llama/rope-yarn-both", "llama/biases-with", "t5/resaved-gated-gelu",
                 "opt/head-different-tied-absent", "gpt_neox/head-only-tied-True", "bart/head-different-tied-True",
                 "pegasus/scaled", "m2m_100/scaled", "mbart/head-different-tied-True"):  # fmt: skip
        case = all_cases()[name]
        folder = f"{work}/{name.replace('/', '-').lower()}"
        vocabulary = train_tokenizer(work, texts_of(f"{work}/text.jsonl"), begin=False)
        case = case._replace(changes={**case.changes, "vocab_size": vocabulary})
        make_config_checkpoint(folder, case)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(f"{work}/{file}", folder)
        result = programs.convert(
            work, f"converted-{os.path.basename(folder)}".replace("_", "-"), folder, 4,
            alignment={"method": "procrustes"},
            calibration={"data": f"{work}/text.jsonl", "sequences": 8, "sequence_length": 32},
            finetune={"method": "none"})  # fmt: skip
        tokens = torch.randint(0, vocabulary, (2, 24), generator=torch.Generator().manual_seed(3))
        expected, reason = transformers_logits(folder, case.family, tokens)
        assert expected is not None, (name, reason)
        logits, reason = transformers_logits(result, case.family, tokens)
        assert logits is not None, (name, reason)
        difference = relative_difference(logits, expected)
        assert difference < TOLERANCE, (name, difference)
        print(f"{name}: converted, logits within {difference:.1e} of the source's", flush=True)


def chosen(arguments):
    cases = all_cases()
    if arguments:
        return [cases[name] for name in arguments]
    count = int(os.environ.get("REGROUP_TEST_CONFIGS", SHORT)) or len(cases)
    # A stride that shares no factor with the number of cases spreads the choice over all kinds.
    stride = next(step for step in range(1009, 2000) if math.gcd(step, len(cases)) == 1)
    names = list(cases)
    return [cases[names[index * stride % len(names)]] for index in range(min(count, len(names)))]


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    regroup, logits_tool, *names = sys.argv[1:]
    cases = chosen(names)
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as work:
        compare(logits_tool, work, cases, outcomes)
        check_inspect(regroup, work)
        if not names:
            check_conversions(Programs(regroup, logits_tool), work)
    for line in outcomes.wrong:
        print(f"WRONG {line}")
    parts = ", ".join(f"{count} {kind}" for kind, count in outcomes.counts.most_common())
    print(f"{len(cases)} cases of {len(outcomes.families)} families: {parts}; {len(outcomes.wrong)} wrong")
    assert len(names) > 0 or len(outcomes.families) == len(BASES), outcomes.families
    sys.exit(1 if outcomes.wrong else 0)


main()
