"""Creates random checkpoints of every family, as its Transformers class saves them. Sizes are odd on purpose: head
width times heads differs from the hidden size where a family allows it."""

import os

import torch
import transformers

from tiny_checkpoints import train_tokenizer
from transformers_checks import AUDIO, model_class

COMMON = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 8, "intermediate_size": 88,
          "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}  # fmt: skip
GPT = {"n_layer": 2, "n_embd": 64, "n_head": 8, "n_positions": 128, "bos_token_id": 0, "eos_token_id": 1}
T5 = {"num_layers": 2, "num_decoder_layers": 3, "d_model": 64, "d_kv": 12, "num_heads": 8, "d_ff": 88,
      "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "bos_token_id": 0, "eos_token_id": 1,
      "pad_token_id": 2, "decoder_start_token_id": 2}
BART = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 64, "encoder_attention_heads": 8, "decoder_attention_heads": 8,
        "encoder_ffn_dim": 88, "decoder_ffn_dim": 88, "max_position_embeddings": 96, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None}
# A clip lasts a second.
WHISPER = {"encoder_layers": 2, "decoder_layers": 2, "d_model": 64, "encoder_attention_heads": 8, "decoder_attention_heads": 8,
           "encoder_ffn_dim": 88, "decoder_ffn_dim": 88, "num_mel_bins": 20, "max_source_positions": 50,
           "max_target_positions": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "decoder_start_token_id": 0}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 32}
# Each pair of a head that is 8 wide has its own factor; sequences of the tests are longer than 32.
LONGROPE = {"rope_type": "longrope", "rope_theta": 500.0, "short_factor": [1.0, 1.1, 1.4, 2.0],
            "long_factor": [1.0, 1.5, 3.0, 6.0]}


# Layers of different kinds. Windows are shorter than the sequences of the tests.
KINDS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
CLIP = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 16}
SIGLIP = {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
          "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


def wide_heads(**changes):
    return {**COMMON, "head_dim": 12, **changes}


def rope(**parameters):
    return {"rope_type": "default", "rope_theta": 500.0, **parameters}


# name of the case: model type, configuration, layout of the result
CASES = {
    "llama": ("llama", wide_heads(num_key_value_heads=8, rope_parameters=YARN), "standard"),
    "mistral": ("mistral", wide_heads(num_key_value_heads=8, sliding_window=24), "standard"),
    "mixtral": ("mixtral", wide_heads(num_key_value_heads=8, num_local_experts=4), "standard"),
    "qwen2": ("qwen2", {**COMMON, "num_key_value_heads": 8}, "standard"),
    "qwen2-windows": ("qwen2", {**COMMON, "num_key_value_heads": 8, "use_sliding_window": True, "sliding_window": 24,
                                "max_window_layers": 1}, "standard"),
    "qwen2_moe": ("qwen2_moe", {**COMMON, **EXPERTS, "num_key_value_heads": 8, "shared_expert_intermediate_size": 40},
                  "standard"),
    "qwen3": ("qwen3", wide_heads(num_key_value_heads=8), "standard"),
    "qwen3_moe": ("qwen3_moe", wide_heads(**EXPERTS, num_key_value_heads=8, norm_topk_prob=True, mlp_only_layers=[0]),
                  "standard"),
    "gemma": ("gemma", wide_heads(num_key_value_heads=8, hidden_act="gelu_pytorch_tanh"), "standard"),
    "gemma2": ("gemma2", wide_heads(**KINDS, num_key_value_heads=8, query_pre_attn_scalar=10,
                                    attn_logit_softcapping=3.0, final_logit_softcapping=4.0), "standard"),
    "gemma3_text": ("gemma3_text", wide_heads(
        **KINDS, num_key_value_heads=8, query_pre_attn_scalar=10, rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 3000.0},
            "sliding_attention": rope()}), "standard"),
    "gemma3": ("gemma3", {"text_config": wide_heads(**KINDS, num_key_value_heads=8), "vision_config": SIGLIP,
                          "mm_tokens_per_image": 4, "image_token_index": 5, "boi_token_index": 6,
                          "eoi_token_index": 7}, "standard"),
    "llava": ("llava", {"text_config": {"model_type": "llama", **COMMON, "num_key_value_heads": 8},
                        "vision_config": CLIP, "image_token_index": 5}, "standard"),
    "vipllava": ("vipllava", {"text_config": {"model_type": "llama", **COMMON, "num_key_value_heads": 8},
                              "vision_config": CLIP, "image_token_index": 5, "vision_feature_layers": [-1, -2]},
                 "standard"),
    "llava_next": ("llava_next", {"text_config": {"model_type": "mistral", **COMMON, "num_key_value_heads": 8},
                                  "vision_config": CLIP, "image_token_index": 5}, "standard"),
    "olmo": ("olmo", {**COMMON, "num_key_value_heads": 8}, "standard"),
    "olmo2": ("olmo2", {**COMMON, "num_key_value_heads": 8}, "standard"),
    "olmo3": ("olmo3", {**COMMON, **KINDS, "num_key_value_heads": 8, "rope_parameters": {
        "full_attention": YARN, "sliding_attention": rope()}}, "standard"),
    "olmoe": ("olmoe", {**COMMON, "num_key_value_heads": 8, "num_experts": 6, "num_experts_per_tok": 3}, "standard"),
    "cohere": ("cohere", {**COMMON, "num_key_value_heads": 8, "logit_scale": 0.4}, "standard"),
    "cohere2": ("cohere2", {**COMMON, **KINDS, "num_key_value_heads": 8}, "standard"),
    "granite": ("granite", {**COMMON, "num_key_value_heads": 8, "embedding_multiplier": 3.0, "logits_scaling": 2.0,
                            "attention_multiplier": 0.2, "residual_multiplier": 0.7}, "standard"),
    "smollm3": ("smollm3", {**COMMON, "num_key_value_heads": 8, "no_rope_layers": [1, 0]}, "standard"),
    "stablelm": ("stablelm", {**COMMON, "num_key_value_heads": 8, "use_qkv_bias": True,
                              "rope_parameters": rope(partial_rotary_factor=0.25)}, "standard"),
    "stablelm-parallel": ("stablelm", {**COMMON, "num_key_value_heads": 8, "use_parallel_residual": True,
                                       "rope_parameters": rope(partial_rotary_factor=0.5)}, "standard"),
    "nemotron": ("nemotron", {**COMMON, "num_key_value_heads": 8, "attention_bias": True, "head_dim": 12}, "standard"),
    "phi": ("phi", {**COMMON, "num_key_value_heads": 8, "rope_parameters": rope(partial_rotary_factor=0.5)}, "standard"),
    "phi3": ("phi3", {**COMMON, "num_key_value_heads": 8, "sliding_window": 24}, "standard"),
    "phi3-longrope": ("phi3", {**COMMON, "num_key_value_heads": 8, "rope_parameters": LONGROPE,
                               "original_max_position_embeddings": 32}, "standard"),
    "phi3-longrope-short": ("phi3", {**COMMON, "num_key_value_heads": 8, "original_max_position_embeddings": 100,
                                     "rope_parameters": {**LONGROPE, "partial_rotary_factor": 0.75,
                                                         "short_factor": [1.0, 1.1, 2.0],
                                                         "long_factor": [1.0, 3.0, 6.0]}}, "standard"),
    "gpt_neox": ("gpt_neox", {**COMMON, "rope_parameters": rope(partial_rotary_factor=0.25)}, "expanded"),
    "gpt_neox-sequential": ("gpt_neox", {**COMMON, "use_parallel_residual": False, "attention_bias": False,
                                         "rope_parameters": rope(partial_rotary_factor=1.0)}, "expanded"),
    "gptj": ("gptj", {**GPT, "rotary_dim": 4}, "expanded"),
    "gpt2": ("gpt2", GPT, "expanded"),
    "opt": ("opt", {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 8, "ffn_dim": 88,
                    "max_position_embeddings": 128, "word_embed_proj_dim": 64, "bos_token_id": 0, "eos_token_id": 1,
                    "pad_token_id": None}, "expanded"),
    "bloom": ("bloom", {"n_layer": 2, "hidden_size": 72, "n_head": 12, "seq_length": 128, "bos_token_id": 0,
                        "eos_token_id": 1}, "expanded"),
    "t5": ("t5", T5, "expanded"),
    "t5-gated": ("t5", {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, "expanded"),
    "t5gemma": ("t5gemma", {
        "encoder": wide_heads(**KINDS, num_key_value_heads=8, query_pre_attn_scalar=20, attn_logit_softcapping=3.0,
                              pad_token_id=3),
        "decoder": wide_heads(**KINDS, num_key_value_heads=8, query_pre_attn_scalar=20, attn_logit_softcapping=3.0,
                              final_logit_softcapping=4.0, pad_token_id=3),
        "decoder_start_token_id": 0}, "standard"),
    "bart": ("bart", BART, "expanded"),
    "mbart": ("mbart", {**BART, "scale_embedding": True}, "expanded"),
    "pegasus": ("pegasus", BART, "expanded"),
    "marian": ("marian", {**BART, "scale_embedding": True}, "expanded"),
    # Tokens for padding have no position.
    "m2m_100": ("m2m_100", {**BART, "pad_token_id": 3}, "expanded"),
    "whisper": ("whisper", WHISPER, "expanded"),
}  # fmt: skip


def randomise(model, seed):
    """Sets weights that are large enough for attention to matter, and norms and biases that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.copy_(0.3 * noise if name.endswith("bias") else 1 + 0.2 * noise)
            elif "embed_positions" in name and not parameter.requires_grad:
                pass  # Computed by the class.
            elif "conv" in name:
                parameter.copy_(1.3 * noise / parameter[0].numel() ** 0.5)
            elif "emb" in name or "wte" in name or "wpe" in name:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(1.3 * noise / min(parameter.shape) ** 0.5)
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))


def share_heads(model, layers):
    """Makes all KV heads of these layers the same, so that one is enough for them."""
    with torch.no_grad():
        for layer in layers:
            attention = model.model.layers[layer].self_attn
            for projection in (attention.k_proj, attention.v_proj):
                first = projection.weight[: attention.head_dim]
                projection.weight.copy_(first.repeat(projection.weight.shape[0] // attention.head_dim, 1))


def make_uneven_checkpoint(root, texts):
    """Writes a LLaMA of 4 layers, two of which need only one KV head."""
    folder = f"{root}/uneven"
    os.makedirs(folder)
    vocabulary = train_tokenizer(folder, texts, begin=False)
    config = transformers.AutoConfig.for_model("llama", vocab_size=vocabulary, **wide_heads(num_hidden_layers=4))
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, 4)
    share_heads(model, (0, 2))
    model.save_pretrained(folder)
    return folder


def make_family_checkpoint(root, case, texts):
    model_type, settings, _ = CASES[case]
    folder = f"{root}/{case}"
    os.makedirs(folder)
    vocabulary = train_tokenizer(folder, texts, begin=False)
    parts = [part for part in ("text_config", "encoder", "decoder") if part in settings]
    settings = {**settings, **{part: {**settings[part], "vocab_size": vocabulary} for part in parts}}
    if "text_config" not in settings:
        settings["vocab_size"] = vocabulary
    config = transformers.AutoConfig.for_model(model_type, **settings)
    model = model_class(model_type).from_config(config, dtype=torch.float32)
    randomise(model, len(case))
    model.save_pretrained(folder)
    if model_type in AUDIO:
        transformers.WhisperFeatureExtractor(
            feature_size=config.num_mel_bins, chunk_length=config.max_source_positions // 50).save_pretrained(folder)
    return folder
