"""Converts a random checkpoint of every model family and compares configuration, logits and perplexity with Transformers.

usage: family_oracle.py <regroup> <logits_tool> [case...]

Every case is aligned by Procrustes analysis and trained. By principal components are converted: the cases that are named,
those with a way of attention of their own (PRINCIPAL_CASES), and with REGROUP_NIGHTLY=1 all.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch

from regroup_programs import Programs, config_of, report_of, weights_of
from tiny_checkpoints import texts_of, write_text, write_transcripts
from tiny_families import CASES, make_family_checkpoint, make_uneven_checkpoint
from transformers_checks import (AUDIO, check_configuration, check_logits, check_perplexity, load, logits_of, parsed_text_config,
                                 random_tokens, relative_difference)  # fmt: skip

LENGTH = 48
UNCHANGED = 1e-4

# Share of the KV heads that is left, alignment, fine-tuning, and whether the outputs are refitted. Where there is nothing
# to merge, one case of each layout will do.
UNMERGED_JOB = (1, {"method": "procrustes"}, {"method": "none"}, False)
UNMERGED_CASES = {"llama", "gpt2", "t5"}
PRINCIPAL_JOB = (2, {"method": "principal", "similarity": "residual"}, {"method": "none"}, True)
# Rotary positions in halves and in pairs, norms of each kind, biases, fused rows, learned, linear and relative positions,
# windows, experts, a decoder inside another model, cross attention.
PRINCIPAL_CASES = {"llama", "qwen2_moe", "qwen3", "gemma2", "gemma3", "llava", "olmo2", "cohere2", "phi3-longrope", "gpt_neox",
                   "gpt2", "bloom", "t5-gated", "bart"}
PROCRUSTES_JOB = (4, {"method": "procrustes", "compare": "joint"}, {"method": "l0", "steps": 3}, False)


def check_layout(folder, source_folder, layout, kv_heads, source_heads):
    provenance = config_of(folder)["regroup"]
    assert provenance["layout"] == layout and provenance["kv_heads"] == kv_heads, provenance
    if layout == "standard":
        check_configuration(folder, source_folder, kv_heads)
        return
    config = config_of(folder)
    del config["regroup"]
    assert config == config_of(source_folder)
    compact = json.load(open(f"{folder}/regroup/compact/config.json"))
    assert compact == {"kv_heads": kv_heads}, compact
    assert provenance["source_kv_heads"] == source_heads


def check_other_parts(folder, source_folder):
    """Checks that what is not of the language model is copied bit by bit."""
    if "text_config" not in config_of(source_folder):
        return
    before, after = weights_of(source_folder), weights_of(folder)
    assert set(before) == set(after), set(before) ^ set(after)
    others = [name for name in before if "language_model" not in name and name != "lm_head.weight"]
    assert others and all(torch.equal(before[name], after[name]) for name in others), others


def check_decoding(folder, source, kv_heads):
    """Checks that an encoder-decoder was timed and asked, with a cache of the size that its definition has."""
    report = report_of(folder)
    config = parsed_text_config(source)
    layers = next(getattr(config, key) for key in ("num_decoder_layers", "decoder_layers", "num_hidden_layers")
                  if hasattr(config, key))  # fmt: skip
    width = getattr(config, "d_kv", None) or getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for role, heads in (("source", config.num_attention_heads), ("result", kv_heads)):
        speed = report["result"]["latency"]["grid"][0][role]
        # Self-attention and cross attention, keys and values, float32, 2 sequences of 16 tokens in each.
        assert speed["kv_bytes"] == speed["kv_bytes_computed"] == 2 * 2 * layers * heads * width * 4 * 2 * 16, (role, speed)
        assert len(report[role]["answers"]) == 1 and report[role]["answers"][0]["tokens"] <= 8, report[role]["answers"]


def without_class_name(folder):
    """Returns a copy whose configuration does not name the model's class, which Transformers loads but not every engine.
    A result names the class nevertheless."""
    copy = f"{folder}-without-class-name"
    shutil.copytree(folder, copy, copy_function=os.link)
    config = config_of(folder)
    assert config.pop("architectures")
    os.remove(f"{copy}/config.json")
    with open(f"{copy}/config.json", "w") as file:
        json.dump(config, file)
    return copy


def convert(programs, work, case, source_folder, source, job):
    share, alignment, finetune, refine = job
    heads = parsed_text_config(source).num_attention_heads
    is_audio = source.config.model_type in AUDIO
    train, valid = (f"{work}/{'spoken-' if is_audio else ''}{name}.jsonl" for name in ("train", "valid"))
    training = dict(finetune)
    if finetune["method"] != "none":
        training.update(data=train, batch_sequences=4, sequence_length=LENGTH, learning_rate=1e-3)
    evaluation = {"perplexity": {"data": valid, "sequence_length": LENGTH}}
    decodes = source.config.is_encoder_decoder and not is_audio
    if decodes:
        evaluation.update(latency={"batch_sizes": [2], "context_lengths": [16], "new_tokens": 4},
                          answers={"prompts": ["Gamma."], "new_tokens": 8})  # fmt: skip
    label = f"{case}-{heads // share}".replace("_", "-")
    folder = programs.convert(
        work, label, without_class_name(source_folder) if job is PROCRUSTES_JOB else source_folder, heads // share,
        alignment=alignment, finetune=training, refine={"outputs": refine},
        calibration={"data": train, "sequences": 16, "sequence_length": LENGTH}, evaluation=evaluation)  # fmt: skip
    if decodes:
        check_decoding(folder, source, heads // share)
    check_layout(folder, source_folder, CASES[case][2], heads // share, heads)
    check_other_parts(folder, source_folder)
    tokens = random_tokens(source, 2, 100)
    result = load(folder)
    logits, own = check_logits(programs, folder, tokens, result)
    expected = logits_of(source, tokens)
    moved = relative_difference(logits, expected)
    assert share > 1 or moved < UNCHANGED, (label, "nothing to merge, but the logits changed", moved)
    unmerged = "not exact, by its floor"
    if alignment["method"] == "procrustes":  # principal drops directions that the shared head hardly has
        aligned = programs.logits(source_folder, tokens, f"{folder}/regroup/alignment.safetensors")
        unmerged = relative_difference(aligned, expected)
        assert unmerged < UNCHANGED, (label, "alignment without merging changed the logits", unmerged)
        unmerged = f"{unmerged:.1e} from the source"
    perplexity = check_perplexity(folder, source_folder, valid, LENGTH, source, result)
    print(f"{label}: own logits {own:.1e}; aligned {unmerged}, merged {moved:.1e}; perplexity "
          f"{perplexity['source']:.2f} -> {perplexity['result']:.2f}", flush=True)  # fmt: skip


def check_refusals(programs, work, source_folder):
    """Asserts that what an encoder-decoder cannot do is refused with the key's name before any work."""
    data = f"{work}/train.jsonl"
    for number, (section, words) in enumerate((
            ({"calibration": {"data": data, "sequences": 4, "sequence_length": 31}}, "calibration.sequence_length: 31 is odd"),
            ({"evaluation": {"latency": {"batch_sizes": [1], "context_lengths": [500], "new_tokens": 20}}},
             "exceed the 512 positions of the model; write at most 492"),
            ({"evaluation": {"needle": {"context_lengths": [64]}}}, "evaluation.needle:"))):  # fmt: skip
        calibration = {"calibration": {"data": data, "sequences": 4, "sequence_length": 32}, "finetune": {"method": "none"}}
        done, output = programs.run(work, f"refused-{number}", source_folder, 4, **{**calibration, **section})
        assert done.returncode != 0 and words in done.stdout + done.stderr, (words, done.stdout[-2000:], done.stderr[-2000:])
        assert not os.path.exists(output)


def check_one_head(programs, work, source_folder, source):
    """Checks that a GPT-2 with one KV head becomes a model of the class that has one, whose cache is as small."""
    heads = source.config.num_attention_heads
    folder = programs.convert(
        work, "one-head", source_folder, 1, alignment={"method": "principal"}, finetune={"method": "none"},
        calibration={"data": f"{work}/train.jsonl", "sequences": 16, "sequence_length": LENGTH},
        evaluation={"perplexity": {"data": f"{work}/valid.jsonl", "sequence_length": LENGTH}})  # fmt: skip
    config, before = config_of(folder), config_of(source_folder)
    assert config["regroup"]["layout"] == "standard" and config["regroup"]["kv_heads"] == 1, config
    assert not os.path.exists(f"{folder}/regroup/compact")
    changed = {key for key in config.keys() | before.keys() if config.get(key) != before.get(key)}
    assert changed == {"model_type", "architectures", "multi_query", "regroup"}, changed
    result = load(folder)
    assert type(result).__name__ == "GPTBigCodeForCausalLM"
    tokens = random_tokens(source, 2, 100)
    _, own = check_logits(programs, folder, tokens, result)
    keys = result(tokens, use_cache=True).past_key_values.layers[0].keys
    assert keys.shape[1] == 1 and heads > 1, keys.shape
    perplexity = check_perplexity(folder, source_folder, f"{work}/valid.jsonl", LENGTH, source, result)
    print(f"gpt2 with one KV head: own logits {own:.1e}; perplexity {perplexity}", flush=True)


def check_unequal_budget(programs, work):
    """Checks that the layers that need one KV head get one, the others share the rest, and the result is `expanded`."""
    source_folder = make_uneven_checkpoint(work, texts_of(f"{work}/train.jsonl"))
    source = load(source_folder)
    for number, finetune in enumerate(({"method": "none"}, {"method": "l0", "steps": 3, "batch_sequences": 4,
                                                            "sequence_length": LENGTH})):  # fmt: skip
        folder = programs.convert(
            work, f"uneven-{number}", source_folder, 2, target={"kv_heads": 2, "per_layer": "auto"},
            alignment={"method": "principal"}, finetune=finetune,
            calibration={"data": f"{work}/train.jsonl", "sequences": 16, "sequence_length": LENGTH},
            evaluation={"perplexity": {"data": f"{work}/valid.jsonl", "sequence_length": LENGTH}})  # fmt: skip
        provenance = config_of(folder)["regroup"]
        heads = provenance["kv_heads"]
        assert provenance["layout"] == "expanded" and sum(heads) == 8, provenance
        assert heads[0] == 1 and heads[2] == 1, heads
        assert [layer["kv_heads"] for layer in report_of(folder)["layers"]] == heads
        assert config_of(folder)["num_key_value_heads"] == 8
        _, own = check_logits(programs, folder, random_tokens(source, 2, 100))
        perplexity = check_perplexity(folder, source_folder, f"{work}/valid.jsonl", LENGTH)
        print(f"unequal budgets {heads}, {finetune['method']}: own logits {own:.1e}, perplexity {perplexity}", flush=True)


def check_table(programs):
    """Checks that `regroup families` lists the same layouts as the cases, and no family without a case."""
    listed = json.loads(subprocess.run([programs.regroup, "families", "--json"], check=True, capture_output=True).stdout)
    expected = {model_type: layout for model_type, _, layout in CASES.values()}
    # Has one KV head, so that there is nothing to convert: check_one_head.
    expected["gpt_bigcode"] = "standard"
    found = {model_type: entry["layout"] for entry in listed for model_type in entry["model_types"]}
    assert found == expected, (found, expected)


def main():
    torch.set_num_threads(1)
    programs = Programs(sys.argv[1], sys.argv[2])
    cases = sys.argv[3:] or list(CASES)
    if not sys.argv[3:]:
        check_table(programs)
    conversions = 0
    with tempfile.TemporaryDirectory() as work:
        write_text(f"{work}/train.jsonl", 120, seed=1)
        write_text(f"{work}/valid.jsonl", 30, seed=2)
        for name in ("train", "valid"):
            write_transcripts(f"{work}/spoken-{name}.jsonl", texts_of(f"{work}/{name}.jsonl"), seconds=1, seed=len(name))
        for case in cases:
            source_folder = make_family_checkpoint(work, case, texts_of(f"{work}/train.jsonl"))
            source = load(source_folder)
            _, difference = check_logits(programs, source_folder, random_tokens(source, 2, 100), source)
            print(f"{case}: source logits within {difference:.1e} of Transformers'", flush=True)
            if case == "t5":
                check_refusals(programs, work, source_folder)
            if case == "gpt2":
                check_one_head(programs, work, source_folder, source)
            by_principal = bool(sys.argv[3:]) or case in PRINCIPAL_CASES or "REGROUP_NIGHTLY" in os.environ
            for job, is_wanted in ((UNMERGED_JOB, case in UNMERGED_CASES), (PRINCIPAL_JOB, by_principal),
                                   (PROCRUSTES_JOB, True)):  # fmt: skip
                if is_wanted:
                    convert(programs, work, case, source_folder, source, job)
                    conversions += 1
        assert sys.argv[3:] or PRINCIPAL_CASES <= set(cases), PRINCIPAL_CASES - set(cases)
        check_unequal_budget(programs, work)
        assert not [name for name in os.listdir(work) if name.startswith(".")], "staged folders were left behind"
    print(f"{conversions} conversions of {len(cases)} cases agree with Transformers")


main()
