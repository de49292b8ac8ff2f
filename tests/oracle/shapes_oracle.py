"""Plans the conversion of published models, whose checkpoints are headers without weights here: parameters must be those of
Transformers' class, and the KV cache per token the known number.

usage: shapes_oracle.py <regroup>
"""

import json
import math
import os
import subprocess
import sys
import tempfile

import torch
import transformers

from tiny_checkpoints import texts_of, train_tokenizer, write_text, write_transcripts
from transformers_checks import AUDIO, is_of_language_model, model_class

PHI3 = {"model_type": "phi3", "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "original_max_position_embeddings": 4096, "sliding_window": 262144, "pad_token_id": 32000, "eos_token_id": 32000,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0 + 0.01 * pair for pair in range(48)],
                         "long_factor": [1.0 + pair for pair in range(48)]}}
COMMAND_R = {"model_type": "cohere", "vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528,
             "num_hidden_layers": 40, "num_attention_heads": 64, "num_key_value_heads": 64, "logit_scale": 0.0625,
             "max_position_embeddings": 8192, "rope_theta": 8000000.0, "eos_token_id": 255001}
OLMO3 = {"model_type": "olmo3", "vocab_size": 100278, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 65536, "rms_norm_eps": 1e-6,
         "rope_theta": 500000, "sliding_window": 4096, "eos_token_id": 100257, "pad_token_id": 100277,
         "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192, "beta_fast": 32,
                          "beta_slow": 1, "attention_factor": 1.2079441541679836}}
# As published: what equals the classes' defaults is left out.
LLAVA = {"model_type": "llava", "image_token_index": 32000, "pad_token_id": 32001,
         "text_config": {"model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
                         "num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 32064, "rms_norm_eps": 1e-5,
                         "max_position_embeddings": 4096},
         "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "image_size": 336,
                           "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}}
QWEN_MOE = {"model_type": "qwen2_moe", "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632,
            "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "num_experts": 60,
            "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
            "max_position_embeddings": 8192, "rope_theta": 1000000.0, "eos_token_id": 151643, "use_sliding_window": False}
GEMMA3 = {"model_type": "gemma3", "eos_token_id": [1, 106],
          "text_config": {"model_type": "gemma3_text", "head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504,
                          "num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16,
                          "query_pre_attn_scalar": 168, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                          "sliding_window": 1024},
          "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896,
                            "intermediate_size": 4304, "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
                            "vision_use_head": False}}
WHISPER = {"model_type": "whisper", "vocab_size": 51866, "num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32,
           "decoder_layers": 32, "encoder_attention_heads": 20, "decoder_attention_heads": 20, "encoder_ffn_dim": 5120,
           "decoder_ffn_dim": 5120, "max_source_positions": 1500, "max_target_positions": 448, "decoder_start_token_id": 50258,
           "bos_token_id": 50257, "eos_token_id": 50257, "pad_token_id": 50256, "num_hidden_layers": 32}
# name: configuration, billions of parameters of the whole checkpoint, KiB of KV cache that a token takes in bfloat16 and
# after the windows of its layers are full, KV heads of the result
MODELS = {
    "Phi-3.5-mini": (PHI3, 3.82, 384, 384, 8),
    "Command-R v01": (COMMAND_R, 34.98, 1280, 1280, 8),
    "OLMo-3-7B": (OLMO3, 7.30, 512, 128, 8),
    "LLaVA-1.5-13B": (LLAVA, 13.35, 800, 800, 10),
    "Qwen1.5-MoE-A2.7B": (QWEN_MOE, 14.32, 192, 192, 4),
    "Gemma-3-27B": (GEMMA3, 27.43, 496, 80, 4),
    "Whisper-large-v3": (WHISPER, 1.54, 160, 160, 4),
}  # fmt: skip


def stored_tensors(config):
    """Yields names and shapes as the checkpoint has them: one tensor for each map of each expert."""
    parsed = transformers.AutoConfig.for_model(**config)
    with torch.device("meta"):
        model = model_class(config["model_type"]).from_config(parsed)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for name, tensor in model.state_dict().items():
        if name.endswith(("lm_head.weight", "proj_out.weight")) and head is embedding:
            continue
        if name.endswith("experts.gate_up_proj"):
            for expert in range(tensor.shape[0]):
                for part in ("gate_proj", "up_proj"):
                    yield name.replace("gate_up_proj", f"{expert}.{part}.weight"), (tensor.shape[1] // 2, tensor.shape[2])
        elif name.endswith("experts.down_proj"):
            for expert in range(tensor.shape[0]):
                yield name.replace("down_proj", f"{expert}.down_proj.weight"), tuple(tensor.shape[1:])
        else:
            yield name, tuple(tensor.shape)


def write_sparse(folder, config, tensors):
    """Writes a file of bfloat16 weights that takes no room on the disk."""
    header, offset = {}, 0
    for name, shape in tensors:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{folder}/model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)


def plan_of(regroup, work, name, folder, kv_heads, data):
    job = {"name": name, "source": {"checkpoint": folder}, "target": {"kv_heads": kv_heads},
           "calibration": {"data": data, "sequences": 16, "sequence_length": 64},
           "finetune": {"method": "l0", "data": data, "batch_sequences": 8, "sequence_length": 64, "ranks": 8, "steps": 100,
                        "precision": "bfloat16"},
           "output": {"checkpoint": f"{work}/{name}-result"}}  # fmt: skip
    with open(f"{work}/{name}.yaml", "w") as file:
        json.dump(job, file)
    done = subprocess.run([regroup, "plan", f"{work}/{name}.yaml", "--json"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (name, done.stdout, done.stderr)
    return json.loads(done.stdout)


def check_clip(plan, config, share):
    """Checks the keys and values, in bfloat16, that the decoder's cross attention keeps of the encoder's positions."""
    before = config["decoder_layers"] * 2 * config["d_model"] * config["max_source_positions"] * 2
    [note] = [note for note in plan["notes"] if "of every clip" in note]
    assert f"{before:,} B of every clip in the cache of the source, and {int(before * share):,} B" in note, note


def check(regroup, work, title, text):
    config, billions, kib, growing_kib, kv_heads = MODELS[title]
    name = title.lower().replace(" ", "-").replace(".", "-")
    folder = f"{work}/{name}"
    os.makedirs(folder)
    train_tokenizer(folder, text, begin=False)
    tensors = list(stored_tensors(config))
    write_sparse(folder, config, tensors)
    whole = sum(math.prod(shape) for _, shape in tensors)
    assert round(whole / 1e9, 2) == billions, (title, whole)
    expected = sum(math.prod(shape) for tensor, shape in tensors if is_of_language_model(tensor))
    is_audio = config["model_type"] in AUDIO
    plan = plan_of(regroup, work, name, folder, kv_heads, f"{work}/{'spoken' if is_audio else 'text'}.jsonl")
    assert plan["model"]["parameters"] == expected, (title, plan["model"], expected)
    cache = plan["kv_bytes_per_token"]
    heads = transformers.AutoConfig.for_model(**config).get_text_config().num_key_value_heads
    assert cache["source"] == 1024 * kib and cache["result"] == 1024 * kib * kv_heads / heads, (title, cache)
    growing = [note for note in plan.get("notes", []) if "window" in note and "stops growing" in note]
    assert (len(growing) == 1) == (growing_kib < kib), (title, plan.get("notes"))
    if growing:
        for subject in (1, kv_heads / heads):
            assert f"adds {int(1024 * growing_kib * subject):,} of" in growing[0] or f"and {int(1024 * growing_kib * subject):,} of" in growing[0], (title, growing)
    if is_audio:
        check_clip(plan, config, kv_heads / heads)
    memory = plan["memory_bytes"]
    assert memory["finetune"] > 2 * expected / 8, (title, memory)
    print(f"{title}: {expected:,} parameters of {whole:,}; KV cache {cache['source']:,.0f} -> {cache['result']:,.0f} bytes a "
          f"token; GiB a rank: " + ", ".join(f"{stage} {size / 2**30:.1f}" for stage, size in memory.items()))  # fmt: skip


def main():
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as work:
        write_text(f"{work}/text.jsonl", 120, seed=1)
        write_transcripts(f"{work}/spoken.jsonl", texts_of(f"{work}/text.jsonl"), seconds=1, seed=1)
        for title in MODELS:
            check(sys.argv[1], work, title, texts_of(f"{work}/text.jsonl"))


main()
