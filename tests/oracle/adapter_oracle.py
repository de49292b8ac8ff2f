"""Checks `regroup adapter` with PEFT: for a result that was merged and not trained, the carried adapter must give the logits
of the merged model whose source had the adapter merged into its weights, and the adapters that cannot be carried must be
refused by name.

For the last comparison the source with its adapter is merged by this file's own code, from the maps in alignment.safetensors
and the equations of trainer/alignment/layer_alignment.h, in float64.

usage: adapter_oracle.py <regroup> <logits_tool>
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile

import peft
import safetensors.torch
import torch

from regroup_programs import Programs
from tiny_checkpoints import make_checkpoint, texts_of, write_text
from tiny_families import make_family_checkpoint
from transformers_checks import load

TOLERANCE = 1e-4
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def maps_of(folder, layer):
    prefix = f"layers.{layer}."
    # The file leaves out the maps of coordinates that do not exist.
    return collections.defaultdict(lambda: torch.zeros(64, 0, 0, dtype=torch.float64), {name.removeprefix(prefix): tensor for name, tensor in safetensors.torch.load_file(f"{folder}/regroup/alignment.safetensors").items()
            if name.startswith(prefix)})  # fmt: skip


def pairs_of(rows, width):
    """Returns the first `width` rows of each head [heads, head_width, n] as complex numbers, (t, t + width / 2)."""
    return torch.complex(rows[:, : width // 2], rows[:, width // 2 : width])


def times(pairs, rest, rows, width, norm):
    """Applies complex factors [heads, pairs] and real matrices on row vectors to rows [heads, head_width, n], behind a norm
    with these weights [head_width]."""
    behind = rows * norm[:, None]
    turned = pairs[..., None] * pairs_of(behind, width)
    return torch.cat([turned.real, turned.imag, rest.transpose(1, 2) @ behind[:, width:]], 1) / norm[:, None]


def norms_of(attention, width):
    """Returns the weights of the norms of queries and keys, or ones."""
    ones = torch.ones(width, dtype=torch.float64)
    return [getattr(attention, name).weight.double() if hasattr(attention, name) else ones for name in ("q_norm", "k_norm")]


def merged_attention(maps, attention, config, rotary_width):
    """Returns the four weights of the merged layer from those of the source."""
    query, key, value, output = (getattr(attention, name).weight for name in PROJECTIONS)
    query, key, value, output = (weight.double() for weight in (query, key, value, output))
    groups = maps["groups"]
    heads, kv_heads = config.num_attention_heads, groups.numel()
    copies = kv_heads // config.num_key_value_heads
    order = groups.flatten()
    queries = [int(head) * (heads // kv_heads) + i for head in order for i in range(heads // kv_heads)]
    owners = torch.tensor([head // (heads // kv_heads) for head in queries])
    width = query.shape[0] // heads
    query_norm, key_norm = norms_of(attention, width)

    def rows(weight):
        return weight.view(-1, width, weight.shape[1])

    # The heads that were split for a target that does not divide them.
    key, value = (rows(weight).repeat_interleave(copies, 0).flatten(0, 1) for weight in (key, value))

    def number(name):
        return torch.complex(maps[name][..., 0], maps[name][..., 1])

    new_query = times(number("query_pairs")[owners], maps["query_free"][owners], rows(query)[queries], rotary_width,
                      query_norm)
    parts = times(number("key_pairs_merge")[order], maps["key_free_merge"][order], rows(key)[order], rotary_width,
                  key_norm)
    new_key = parts.view(len(groups), -1, width, key.shape[1]).sum(1)
    parts = maps["value_merge"][order].transpose(1, 2) @ rows(value)[order]
    new_value = parts.view(len(groups), -1, width, value.shape[1]).sum(1)
    columns = output.view(output.shape[0], heads, width).transpose(0, 1)[queries]
    new_output = (columns @ maps["value_output"][owners].transpose(1, 2)).transpose(0, 1).flatten(1)
    return new_query.flatten(0, 1), new_key.flatten(0, 1), new_value.flatten(0, 1), new_output


def make_adapter(source, folder, **settings):
    """Saves an adapter of random factors for this model."""
    torch.manual_seed(3)
    options = {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"], **settings}
    model = peft.get_peft_model(load(source), peft.LoraConfig(**options))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.08)
    model.save_pretrained(folder)
    return folder


def expected_model(source, adapter, result):
    """Returns the result in which the adapter was merged into the source before its heads were merged."""
    with_adapter = peft.PeftModel.from_pretrained(load(source), adapter).merge_and_unload()
    model = load(result).double()
    for index, (ours, theirs) in enumerate(zip(model.model.layers, with_adapter.model.layers, strict=True)):
        config = with_adapter.config
        head_width = theirs.self_attn.q_proj.weight.shape[0] // config.num_attention_heads
        rotary_width = int(head_width * (config.rope_parameters or {}).get("partial_rotary_factor", 1))
        weights = merged_attention(maps_of(result, index), theirs.self_attn, config, rotary_width)
        for name, weight in zip(PROJECTIONS, weights, strict=True):
            getattr(ours.self_attn, name).weight.data.copy_(weight)
        ours.mlp.up_proj.weight.data.copy_(theirs.mlp.up_proj.weight)
    return model


def carry(regroup, adapter, result, output):
    command = [regroup, "adapter", "--source-adapter", adapter, "--result", result, "--output", output, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done, json.loads(done.stdout) if done.returncode == 0 else None


def logits(model, tokens):
    with torch.no_grad():
        return model(tokens).logits.double()


def check_adapter(programs, regroup, work, case, source, kv_heads):
    text = f"{work}/train.jsonl"
    result = programs.convert(work, f"{case}-k{kv_heads}", source, kv_heads, alignment={"method": "principal"},
                              refine={"outputs": False}, finetune={"method": "none"},
                              calibration={"data": text, "sequences": 8, "sequence_length": 32})  # fmt: skip
    adapter = make_adapter(source, f"{work}/{case}-adapter")
    output = f"{work}/{case}-k{kv_heads}-carried"
    done, summary = carry(regroup, adapter, result, output)
    assert done.returncode == 0, done.stderr
    layers = load(source).config.num_hidden_layers
    assert summary["carried"] == {name: layers for name in ("query", "key", "value", "output")}, summary
    assert summary["unchanged"] == layers and summary["exact"] and summary["rank"] == 3, summary
    assert 0 < summary["lost"]["key"] < 1 and 0 < summary["lost"]["value"] < 1, summary
    tokens = torch.randint(0, load(source).config.vocab_size, (2, 24), generator=torch.Generator().manual_seed(1))
    expected = logits(expected_model(source, adapter, result), tokens)
    carried = logits(peft.PeftModel.from_pretrained(load(result).double(), output), tokens)
    plain = logits(load(result).double(), tokens)
    difference = (carried - expected).abs().max().item()
    effect = (plain - expected).abs().max().item()
    assert difference < TOLERANCE < 0.01 * effect, (case, difference, effect)
    print(f"{case}, {kv_heads} KV heads: logits within {difference:.1e}; without the adapter they differ by {effect:.2f}; "
          f"lost of keys {summary['lost']['key']:.2f}, of values {summary['lost']['value']:.2f}", flush=True)  # fmt: skip
    return source, result, adapter


def check_refusals(regroup, work, source, result, adapter):
    def refuse(folder, *fragments, on=result):
        done, _ = carry(regroup, folder, on, f"{work}/refused")
        said = done.stdout + done.stderr
        assert done.returncode != 0 and all(fragment in said for fragment in fragments), (fragments, said)
        assert not os.path.exists(f"{work}/refused"), fragments

    refuse(make_adapter(source, f"{work}/dora", use_dora=True), "adapter_config.json", "use_dora")
    refuse(make_adapter(source, f"{work}/biases", bias="all"), "bias: all")
    refuse(make_adapter(source, f"{work}/lora-bias", lora_bias=True), "lora_bias")
    for name, changes, *fragments in (
            ("pissa", {"init_lora_weights": "pissa"}, "init_lora_weights: pissa"),
            ("type", {"peft_type": "IA3"}, "IA3"), ("unknown", {"a_new_setting": 7}, "a_new_setting")):  # fmt: skip
        folder = shutil.copytree(adapter, f"{work}/{name}")
        config = json.load(open(f"{folder}/adapter_config.json")) | changes
        json.dump(config, open(f"{folder}/adapter_config.json", "w"))
        refuse(folder, *fragments)
    weights = safetensors.torch.load_file(f"{adapter}/adapter_model.safetensors")
    first = next(name for name in weights if name.endswith("q_proj.lora_A.weight"))
    for name, change, fragment in (
            ("lonely", lambda tensors: tensors.pop(first), "not two matrices of the same rank"),
            ("foreign", lambda tensors: tensors.update({key.replace("q_proj", "qkv_proj"): tensors.pop(key) for key in list(tensors)
                                                        if "q_proj" in key}), "qkv_proj"),
            ("other-model", lambda tensors: tensors.update({key: torch.zeros(3, 7) for key in tensors if "q_proj.lora_A" in key}),
             "q_proj")):  # fmt: skip
        folder = shutil.copytree(adapter, f"{work}/{name}")
        tensors = dict(weights)
        change(tensors)
        safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, f"{folder}/adapter_model.safetensors")
        refuse(folder, fragment)
    refuse(adapter, "config.json does not say that Regroup wrote this model", on=source)
    os.mkdir(f"{work}/there")
    done, _ = carry(regroup, adapter, result, f"{work}/there")
    assert done.returncode != 0 and "exists already" in done.stdout, done.stdout
    print("11 adapters are refused by name")


def main():
    regroup, logits_tool = sys.argv[1:]
    programs = Programs(regroup, logits_tool)
    with tempfile.TemporaryDirectory() as work:
        write_text(f"{work}/train.jsonl", 120, seed=1)
        texts = texts_of(f"{work}/train.jsonl")
        make_checkpoint(work, "grouped-old-style", texts)
        split = f"{work}/grouped-old-style"
        load(split).float().save_pretrained(split)
        check_adapter(programs, regroup, work, "split-heads", split, 4)
        for case in ("mistral", "qwen2", "qwen3", "stablelm", "llama"):
            checked = check_adapter(programs, regroup, work, case, make_family_checkpoint(work, case, texts), 2)
        check_refusals(regroup, work, *checked)


main()
