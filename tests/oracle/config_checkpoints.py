"""Writes the tiny checkpoint of a case of config_cases.py: random tensors of the shapes that Transformers reads from
the configuration, with the output head and the biases that the case stores."""

import copy
import json
import os
import zlib

import safetensors.torch
import torch
import transformers
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.pegasus.modeling_pegasus import PegasusSinusoidalPositionalEmbedding

from config_cases import BASES
from transformers_checks import model_class

EMBEDDINGS = ("embed_tokens.weight", "embed_in.weight", "wte.weight", "word_embeddings.weight", "shared.weight")
HEADS = {"gpt_neox": "embed_out.weight", "t5gemma": "lm_head.out_proj.weight", "whisper": "proj_out.weight"}
COMPUTED_POSITIONS = {"pegasus": PegasusSinusoidalPositionalEmbedding, "marian": MarianSinusoidalPositionalEmbedding}
EMBEDDING_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def shapes_of(family, config):
    """Returns the shape of every tensor that the class would save for this configuration, its output head included;
    None if Transformers rejects the configuration."""
    try:
        # Some classes change the objects that they are given.
        parsed = transformers.AutoConfig.for_model(**copy.deepcopy(config))
        with torch.device("meta"):
            model = model_class(family).from_config(parsed)
    except Exception:  # whatever it raises, Transformers does not accept the configuration
        return None
    state = model.state_dict()
    copies = {prefix + name for prefix in ("", "model.") for name in EMBEDDING_COPIES if prefix + "shared.weight" in state}
    shapes = {name: list(tensor.shape) for name, tensor in state.items() if name not in copies}
    if family in HEADS and "lm_head.weight" in shapes:
        shapes[HEADS[family]] = shapes.pop("lm_head.weight")
    return shapes


def set_computed_positions(family, tensors):
    if family in COMPUTED_POSITIONS:
        for name in [name for name in tensors if name.endswith("embed_positions.weight")]:
            tensors[name] = COMPUTED_POSITIONS[family](*tensors[name].shape).create_weight()


def set_embedding_copies(case, tensors):
    """Without tie_word_embeddings, classes with BART's names take the embeddings of encoder and decoder for themselves."""
    if "model.shared.weight" in tensors and case.config().get("tie_word_embeddings") is False and not case.name == "copies-absent":
        for name in EMBEDDING_COPIES:
            tensors[f"model.{name}"] = tensors["model.shared.weight"].clone()


def random_tensor(name, shape, generator):
    """Returns weights that are large enough for attention to matter, and norms and biases that are not trivial."""
    noise = torch.randn(shape, generator=generator)
    if noise.dim() == 1:
        return 0.3 * noise if name.endswith("bias") else 1 + 0.2 * noise
    if name.endswith(EMBEDDINGS + ("wpe.weight", "embed_positions.weight")) or "relative_attention_bias" in name:
        return 0.5 * noise
    return 1.3 * noise / min(shape) ** 0.5


def is_projection_bias(name):
    return name.endswith(".bias") and "norm" not in name and ".ln_" not in name and not name.startswith("lm_head")


def set_biases(case, tensors, generator):
    if case.biases == "without":
        for name in [name for name in tensors if is_projection_bias(name)]:
            del tensors[name]
    if case.biases == "with":
        for name in [name for name in tensors if name.endswith(".weight") and tensors[name].dim() == 2]:
            bias = name.removesuffix("weight") + "bias"
            inside = "layers." in name or ".h." in name or "block." in name
            if inside and "relative_attention_bias" not in name and bias not in tensors:
                tensors[bias] = 0.3 * torch.randn(tensors[name].shape[0], generator=generator)


def set_head(case, tensors, generator):
    head = HEADS.get(case.family, "lm_head.weight")
    embedding = next(name for name in tensors if name.endswith(EMBEDDINGS) and name != "model.encoder.embed_tokens.weight")
    if case.head == "as the class":
        defaults = transformers.AutoConfig.for_model(case.family)
        if case.config().get("tie_word_embeddings", defaults.tie_word_embeddings):
            del tensors[head]
    elif case.head == "different":
        tensors[head] = random_tensor(head, tensors[embedding].shape, generator)
    else:
        tensors[head] = tensors[embedding].clone()
        absent = {"absent": head, "only": embedding}.get(case.head)
        if absent is not None:
            del tensors[absent]


def make_config_checkpoint(folder, case):
    """Writes config.json and model.safetensors."""
    os.makedirs(folder)
    config = case.config()
    shapes = shapes_of(case.family, config) or shapes_of(case.family, {"model_type": case.family, **BASES[case.family]})
    generator = torch.Generator().manual_seed(zlib.crc32(f"{case.family}/{case.name}".encode()))
    tensors = {name: random_tensor(name, shape, generator) for name, shape in shapes.items()}
    set_computed_positions(case.family, tensors)
    set_biases(case, tensors, generator)
    set_head(case, tensors, generator)
    set_embedding_copies(case, tensors)
    safetensors.torch.save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
    if case.resaved:
        resave(folder, case.family)


def resave(folder, family):
    """Loads the folder with Transformers and saves it in place; folders that Transformers rejects stay as they are."""
    try:
        model = model_class(family).from_pretrained(folder, dtype=torch.float32)
    except Exception:  # the comparison reports it
        return
    model.save_pretrained(folder)
