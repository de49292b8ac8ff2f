"""Compares checkpoints in the forms that people have with Transformers: wrapped and bare names, tensors that no model
needs, shards and indexes, pytorch_model.bin, 8-bit floats; and checks that others are refused with what to do.

usage: checkpoint_oracle.py <regroup> <logits_tool> [form...]
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch

import checkpoint_forms as forms
from regroup_programs import Programs, config_of
from tiny_checkpoints import texts_of, write_text
from tiny_families import CASES, make_family_checkpoint
from transformers_checks import (COMPOSITES, ENCODER_DECODERS, SINUSOIDAL, is_of_language_model, logits_of, model_class,
                                 random_tokens, relative_difference, text_config)  # fmt: skip

EQUAL = 1e-4
DECODERS = [case for case in CASES if CASES[case][0] not in ENCODER_DECODERS | COMPOSITES]
# A form, the families on which it is tried, and whether Transformers loads it: if not, the weights are those of the
# folder that it was made of.
Form = collections.namedtuple("Form", "write cases is_known note")
IN_ALL, IN_LLAMA = list(CASES), ["llama"]
NOTE = "wrapper of torch"
FORMS = {
    "masks": Form(forms.with_masks, IN_ALL, True, ""),
    "compiled": Form(forms.renamed(lambda name: "_orig_mod." + name), IN_ALL, False, NOTE),
    "parallel": Form(forms.renamed(lambda name: "module." + name), IN_ALL, False, NOTE),
    "compiled-parallel": Form(forms.renamed(lambda name: "_orig_mod.module." + name), IN_LLAMA, False, NOTE),
    "sharded-parallel": Form(forms.inside("_fsdp_wrapped_module"), IN_ALL, False, NOTE),
    "bare": Form(forms.bare, DECODERS, True, "under another name"),
    "in-memory": Form(forms.renamed(lambda name: name.replace("embed_out.", "lm_head.")), ["gpt_neox"], True,
                      "under another name"),
    "shards": Form(forms.shards(), IN_LLAMA, True, ""),
    "shard-with-more": Form(forms.shards(
        shard_change=lambda parts: parts["00002-of-00002"].update(inv_freq=torch.ones(3))), IN_LLAMA, True, ""),
    "index-with-more": Form(forms.shards(
        index_change=lambda names: names.update(inv_freq="model-00001-of-00002.safetensors")), IN_LLAMA, True, ""),
    "index-that-is-mistaken": Form(forms.shards(
        index_change=lambda names: names.update({"lm_head.weight": "model-00002-of-00002.safetensors"})), IN_LLAMA,
        True, ""),
    "index-with-dots": Form(forms.shards(
        index_change=lambda names: names.update({name: "./" + file for name, file in names.items()})), IN_LLAMA, True,
        ""),
    "bin": Form(forms.pickle_file, IN_ALL, True, ""),
    "bin-shards": Form(forms.pickle_shards, ["opt", "bloom", "llama"], True, ""),
    "fp8-blocks": Form(forms.fp8(), ["llama", "qwen3", "mistral"], True, "8-bit floats"),
    "fp8-tall-blocks": Form(forms.fp8(block=(4, 8)), IN_LLAMA, True, "8-bit floats"),
    "fp8-rows": Form(forms.fp8(block=(1, 8), settings={"weight_block_size": None}), IN_LLAMA, True, "8-bit floats"),
    "fp8-bfloat16-scales": Form(forms.fp8(scale_dtype=torch.bfloat16), IN_LLAMA, True, "8-bit floats"),
    "fp8-exponents": Form(forms.fp8(scale_dtype=torch.float8_e8m0fnu, settings={"scale_fmt": "ue8m0"}), IN_LLAMA, True,
                          "8-bit floats"),
    "mxfp8": Form(forms.fp8(block=(1, 8), scale_dtype=torch.uint8, settings={"quant_method": "mxfp8"}), IN_LLAMA, True,
                  "8-bit floats"),
    "fp8-tensors": Form(forms.fp8(block=None, shape=[]), ["llama", "qwen3"], True, "8-bit floats"),
    "fp8-in-float16": Form(forms.fp8(dtype="float16"), IN_LLAMA, True, "8-bit floats"),
    "fp8-without-scales": Form(forms.fp8_without_scales, IN_LLAMA, True, "8-bit floats"),
    "float-with-fp8-config": Form(forms.with_config(quantization_config={"quant_method": "fp8"}), IN_LLAMA, True, ""),
    "float-with-unknown-method": Form(forms.with_config(quantization_config={"quant_method": "homemade"}), IN_LLAMA,
                                      True, "homemade"),
    "float-with-null": Form(forms.with_config(quantization_config=None), IN_LLAMA, True, ""),
}  # fmt: skip
# Forms that are also converted, each with a family.
CONVERSIONS = (("masks", "gpt_neox"), ("bin", "opt"), ("fp8-blocks", "llama"), ("parallel", "gpt2"))


def inspect(programs, folder):
    done = subprocess.run([programs.regroup, "inspect", folder, "--json"], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def load(folder):
    """Returns Transformers' model in the element type of the folder, its number of parameters, and that type."""
    model = model_class(config_of(folder)["model_type"]).from_pretrained(folder, attn_implementation="eager").eval()
    # Positions that the class computes are not counted.
    own = [parameter for name, parameter in model.named_parameters() if is_of_language_model(name) and not
           (name.endswith("embed_positions.weight") and model.config.model_type in SINUSOIDAL)]  # fmt: skip
    return model, sum(parameter.numel() for parameter in own), str(own[0].dtype)


def in_float32(model):
    """Returns the model in float32, with the positions that its class computes instead of those that a checkpoint of fewer
    bits has rounded."""
    model = model.float()
    if model.config.model_type in SINUSOIDAL:
        for stack in (model.model.encoder, model.model.decoder):
            with torch.no_grad():
                stack.embed_positions.weight.copy_(stack.embed_positions.create_weight())
    return model


def expected_model(form, folder, original):
    """The yardstick: Transformers on the folder; or, if it does not know the form, what the folder was made of."""
    if form.is_known:
        return load(folder)
    return load(original)


def check_form(programs, form, folder, original):
    code, output, error = inspect(programs, folder)
    assert code == 0, (folder, output, error)
    description = json.loads(output)
    model, count, dtype = expected_model(form, folder, original)
    assert description["parameters"] == count, (folder, description["parameters"], count)
    assert "torch." + description["dtype"] == dtype, (folder, description["dtype"], dtype)
    assert not form.note or any(form.note in note for note in description["notes"]), (folder, description["notes"])
    tokens = random_tokens(model, 2, 60)
    difference = relative_difference(programs.logits(folder, tokens), logits_of(in_float32(model), tokens))
    assert difference < EQUAL, (folder, difference)
    return difference


def check_conversion(programs, work, name, form, case):
    """Converts a folder; the result is plain, as large as its model, and its logits are those of the source."""
    source = make(work, case, name, form)
    config = text_config(config_of(source))
    heads = config.get("num_attention_heads") or config.get("n_head")
    model = expected_model(form, source, f"{work}/{case}")[0]
    result = programs.convert(work, f"converted-{name}", source, heads, alignment={"method": "procrustes"},
                              calibration={"data": f"{work}/train.jsonl", "sequences": 4, "sequence_length": 32},
                              finetune={"method": "none"})
    converted, info = model_class(config_of(source)["model_type"]).from_pretrained(
        result, output_loading_info=True, attn_implementation="eager")
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    assert converted.dtype == model.dtype, (converted.dtype, model.dtype)
    assert "quantization_config" not in config_of(result)
    tokens = random_tokens(model, 2, 60)
    difference = relative_difference(logits_of(converted.float().eval(), tokens), logits_of(model.float(), tokens))
    # The alignment rotates values, which are rounded to the element type of the folder again.
    assert difference < (5e-2 if model.dtype != torch.float32 else EQUAL), (name, difference)


def check_ignored_scale(programs, work):
    """Transformers ignores a scale named weight_scale: its model has other weights than the one that was quantised."""
    form = Form(forms.fp8("weight_scale", block=None, shape=[1]), IN_LLAMA, True, "")
    folder = make(work, "llama", "fp8-weight-scale", form)
    code, output, _ = inspect(programs, folder)
    assert code != 0 and "down_proj.weight_scale" in output and "Transformers ignores" in output, output
    model, original = load(folder)[0], load(f"{work}/llama")[0]
    tokens = random_tokens(model, 2, 60)
    difference = relative_difference(logits_of(model.float(), tokens), logits_of(original.float(), tokens))
    assert difference > 0.1, "Transformers reads weight_scale now: read it too"
    print(f"fp8-weight-scale: refused; in Transformers its logits differ by {difference:.1e}")


def make(work, case, name, form):
    folder = f"{work}/form-{name}-of-{case}"
    shutil.copytree(f"{work}/{case}", folder)
    form.write(folder)
    return folder


def main():
    programs = Programs(sys.argv[1], sys.argv[2])
    chosen = sys.argv[3:] or list(FORMS)
    with tempfile.TemporaryDirectory() as work:
        write_text(f"{work}/train.jsonl", 60, seed=1)
        conversions = [(name, case) for name, case in CONVERSIONS if name in chosen]
        for case in sorted({case for name in chosen for case in FORMS[name].cases} | {case for _, case in conversions}):
            make_family_checkpoint(work, case, texts_of(f"{work}/train.jsonl"))
        count = 0
        for name in chosen:
            form = FORMS[name]
            worst = 0.0
            for case in form.cases:
                folder = make(work, case, name, form)
                worst = max(worst, check_form(programs, form, folder, f"{work}/{case}"))
                shutil.rmtree(folder)
                count += 1
            print(f"{name}: {len(form.cases)} families, logits within {worst:.1e}", flush=True)
        for name, case in conversions:
            check_conversion(programs, work, name, FORMS[name], case)
            print(f"{name}: a conversion of {case} loads in Transformers", flush=True)
        if not sys.argv[3:]:
            check_ignored_scale(programs, work)
        print(f"{count} checkpoints in {len(chosen)} forms agree with Transformers")


main()
