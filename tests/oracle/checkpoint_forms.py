"""Writes checkpoints in the forms that people have: the same weights in other files, names and element types, and beside
other tensors.

A form is a function of a folder that Transformers has saved; it changes the folder in place."""

import json
import os

import torch
from safetensors.torch import load_file, save_file

from regroup_programs import config_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
BLOCK = 8


def take_weights(folder):
    """Removes the weights file and returns its tensors."""
    tensors = load_file(f"{folder}/{SINGLE}")
    os.remove(f"{folder}/{SINGLE}")
    return tensors


def put_weights(folder, tensors, name=SINGLE):
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(contiguous, f"{folder}/{name}", metadata={"format": "pt"})


def change_config(folder, **changes):
    config = {**config_of(folder), **changes}
    with open(f"{folder}/config.json", "w") as file:
        json.dump({key: value for key, value in config.items() if value is not ...}, file)


def write_json(path, value):
    with open(path, "w") as file:
        json.dump(value, file)


def half(tensors):
    return {name: tensor.half() for name, tensor in tensors.items()}


def with_masks(folder):
    """Float16 weights, and masks of bytes that are larger than the model, as older GPT-NeoX and GPT-2 stored them."""
    tensors = half(take_weights(folder))
    for layer in range(2):
        tensors[f"extra.{layer}.attention.bias"] = torch.ones(1, 1, 700, 700, dtype=torch.uint8)
        tensors[f"extra.{layer}.masked_bias"] = torch.tensor(-1e9)
        tensors[f"extra.{layer}.counts"] = torch.zeros(3, dtype=torch.uint32)
    put_weights(folder, tensors)
    change_config(folder, dtype="float16")


def renamed(rename):
    def write(folder):
        put_weights(folder, {rename(name): tensor for name, tensor in take_weights(folder).items()})
    return write


def inside(wrapper):
    """Puts the wrapper around each layer: "h.1.x" becomes "h.1.<wrapper>.x"."""
    def rename(name):
        parts = name.split(".")
        digits = [index for index, part in enumerate(parts) if part.isdigit()]
        return ".".join(parts[: digits[0] + 1] + [wrapper] + parts[digits[0] + 1 :]) if digits else name
    return renamed(rename)


def bare(folder):
    """The names of the bare model, with the output head beside it."""
    tensors = take_weights(folder)
    [base] = {name.split(".")[0] for name in tensors if not name.startswith(("lm_head", "embed_out"))}
    put_weights(folder, {name.removeprefix(base + "."): tensor for name, tensor in tensors.items()})


def halves(tensors):
    names = sorted(tensors)
    middle = len(names) // 2
    return {f"{number:05}-of-00002": {name: tensors[name] for name in part}
            for number, part in ((1, names[:middle]), (2, names[middle:]))}


def shards(index_change=lambda weight_map: None, shard_change=lambda parts: None):
    def write(folder):
        parts = halves(take_weights(folder))
        weight_map = {name: f"model-{part}.safetensors" for part, tensors in parts.items() for name in tensors}
        index_change(weight_map)
        shard_change(parts)
        for part, tensors in parts.items():
            put_weights(folder, tensors, f"model-{part}.safetensors")
        write_json(f"{folder}/{INDEX}", {"metadata": {}, "weight_map": weight_map})
    return write


def pickle_file(folder):
    """Strides of all kinds: every second tensor is a view into a larger one, or a transposed one."""
    tensors = take_weights(folder)
    for index, (name, tensor) in enumerate(tensors.items()):
        if index % 3 == 1:
            tensors[name] = torch.cat([tensor, tensor])[tensor.shape[0] :]
        elif index % 3 == 2:
            tensors[name] = tensor.transpose(0, -1).contiguous().transpose(0, -1)
    torch.save(tensors, f"{folder}/{PICKLE}")


def pickle_shards(folder):
    parts = halves(take_weights(folder))
    weight_map = {name: f"pytorch_model-{part}.bin" for part, tensors in parts.items() for name in tensors}
    for part, tensors in parts.items():
        torch.save(tensors, f"{folder}/pytorch_model-{part}.bin")
    write_json(f"{folder}/{PICKLE_INDEX}", {"metadata": {}, "weight_map": weight_map})


def is_quantised(name, tensor):
    return tensor.dim() == 2 and "layers" in name and tensor.shape[0] % BLOCK == 0 and tensor.shape[1] % BLOCK == 0


def quantise(weight, rows, columns, power_of_two=False):
    """Returns a weight of 8-bit floats, and the scales of its blocks."""
    blocks = weight.float().reshape(weight.shape[0] // rows, rows, weight.shape[1] // columns, columns)
    scales = blocks.abs().amax((1, 3), keepdim=True) / 448
    if power_of_two:
        scales = torch.exp2(torch.ceil(torch.log2(scales)))
    quantised = (blocks / scales).to(torch.float8_e4m3fn).reshape(weight.shape)
    return quantised, scales.reshape(blocks.shape[0], blocks.shape[2])


def fp8(scale_name="weight_scale_inv", block=(BLOCK, BLOCK), shape=None, scale_dtype=torch.float32, settings=None,
        dtype="bfloat16"):
    """Weights in 8-bit floats. `block` None: one scale for each weight, stored in `shape`."""
    def write(folder):
        tensors = {}
        for name, tensor in take_weights(folder).items():
            if not is_quantised(name, tensor):
                tensors[name] = tensor.to(getattr(torch, dtype))
                continue
            rows, columns = block or tensor.shape
            as_exponents = scale_dtype in (torch.float8_e8m0fnu, torch.uint8)
            quantised, scales = quantise(tensor, rows, columns, power_of_two=as_exponents)
            if scale_dtype == torch.uint8:
                scales = torch.log2(scales) + 127
            module = name.removesuffix("weight")
            tensors[name] = quantised
            tensors[module + scale_name] = (scales.reshape(shape) if block is None else scales).to(scale_dtype)
            tensors[module + "input_scale"] = torch.tensor(1.0)
        put_weights(folder, tensors)
        quantisation = {"quant_method": "fp8", "activation_scheme": "dynamic",
                        "weight_block_size": block and list(block)}  # fmt: skip
        change_config(folder, dtype=dtype, quantization_config=quantisation | (settings or {}))
    return write


def fp8_without_scales(folder):
    tensors = take_weights(folder)
    put_weights(folder, {name: tensor.to(torch.float8_e4m3fn if is_quantised(name, tensor) else torch.bfloat16)
                         for name, tensor in tensors.items()})
    change_config(folder, dtype="bfloat16")


def with_config(**changes):
    return lambda folder: change_config(folder, **changes)
