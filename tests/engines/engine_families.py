"""Configurations of the models that the engines read: one for each family, and one more where a key of config.json changes
how an engine computes.

All have 8 heads of width 32, which is the narrowest that vLLM's attention on CPUs accepts, and the vocabulary of the
demonstration. Sizes that an engine derives instead of reading them (a feed-forward of 4 x the hidden size in llama.cpp's
converter for Phi and GPT-2) have the derived value, as in the published models."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Tokens of a greedy continuation.
NEW_TOKENS = 40
HEADS, WIDTH, LAYERS, POSITIONS = 8, 256, 2, 256
# Numbers of KV heads of the results: 2:1 and 4:1.
TARGETS = (4, 2)

COMMON = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 2 * WIDTH,
          "max_position_embeddings": POSITIONS}  # fmt: skip
STANDARD = {**COMMON, "num_key_value_heads": HEADS}
GPT = {"n_layer": LAYERS, "n_embd": WIDTH, "n_head": HEADS, "n_positions": POSITIONS, "n_inner": 4 * WIDTH}
# A window, shorter than the texts, in the first layer.
WINDOWS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}


def partial_rotary(share):
    return {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": share}


# Name of the case: model type, configuration.
CASES = {
    "llama": ("llama", STANDARD),
    "mistral": ("mistral", {**STANDARD, "head_dim": WIDTH // HEADS, "sliding_window": None}),
    "mistral, sliding window": ("mistral", {**STANDARD, "head_dim": WIDTH // HEADS, "sliding_window": 16}),
    "qwen2": ("qwen2", STANDARD),
    "qwen3": ("qwen3", {**STANDARD, "head_dim": WIDTH // HEADS}),
    "gemma": ("gemma", {**STANDARD, "head_dim": WIDTH // HEADS, "hidden_act": "gelu_pytorch_tanh"}),
    "qwen2_moe": ("qwen2_moe", {**STANDARD, **EXPERTS, "shared_expert_intermediate_size": WIDTH}),
    "qwen3_moe": ("qwen3_moe", {**STANDARD, **EXPERTS, "head_dim": WIDTH // HEADS, "norm_topk_prob": True}),
    "mixtral": ("mixtral", {**STANDARD, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gemma2": ("gemma2", {**STANDARD, **WINDOWS, "head_dim": WIDTH // HEADS, "query_pre_attn_scalar": WIDTH // HEADS}),
    # llama.cpp derives the kinds of the layers: each sixth has no window, and in SmolLM3 each fourth no rotation.
    "gemma3_text": ("gemma3_text", {**STANDARD, "num_hidden_layers": 6, "sliding_window": 16, "head_dim": WIDTH // HEADS,
                                    "query_pre_attn_scalar": WIDTH // HEADS}),
    "olmo": ("olmo", STANDARD),
    "olmo2": ("olmo2", STANDARD),
    "olmo3": ("olmo3", {**STANDARD, **WINDOWS}),
    "olmoe": ("olmoe", {**STANDARD, "num_experts": 4, "num_experts_per_tok": 2}),
    "cohere": ("cohere", {**STANDARD, "logit_scale": 1.0}),
    # Published models have rotary_pct here, too.
    "cohere2": ("cohere2", {**STANDARD, "num_hidden_layers": 4, "sliding_window": 16, "logit_scale": 1.0, "rotary_pct": 1.0}),
    "granite": ("granite", {**STANDARD, "embedding_multiplier": 4.0, "attention_multiplier": 0.2,
                            "residual_multiplier": 0.7, "logits_scaling": 2.0}),
    "smollm3": ("smollm3", {**STANDARD, "num_hidden_layers": 4}),
    "stablelm": ("stablelm", {**STANDARD, "use_qkv_bias": True, "rope_parameters": partial_rotary(0.25)}),
    "phi": ("phi", {**STANDARD, "intermediate_size": 4 * WIDTH, "rope_parameters": partial_rotary(0.5)}),
    "phi3": ("phi3", STANDARD),
    # Published models have rotary_pct and n_ctx, which Transformers no longer writes by itself.
    "gpt_neox": ("gpt_neox", {**COMMON, "rotary_pct": 0.25}),
    "gptj": ("gptj", {**GPT, "rotary_dim": 16}),
    "gpt2": ("gpt2", {**GPT, "n_ctx": POSITIONS}),
    "opt": ("opt", {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS, "ffn_dim": 2 * WIDTH,
                    "max_position_embeddings": POSITIONS, "word_embed_proj_dim": WIDTH}),
    "bloom": ("bloom", {"n_layer": LAYERS, "hidden_size": WIDTH, "n_head": HEADS, "seq_length": POSITIONS}),
    "t5": ("t5", {"num_layers": LAYERS, "num_decoder_layers": LAYERS, "d_model": WIDTH, "d_kv": WIDTH // HEADS,
                  "num_heads": HEADS, "d_ff": 2 * WIDTH, "decoder_start_token_id": 2}),
}  # fmt: skip
# The case with different numbers of KV heads per layer, which no standard config.json expresses, and the one that is written
# as a gpt_bigcode.
UNEVEN = "llama, per_layer: auto"
ONE_HEAD = "gpt2, one KV head"
CASES[ONE_HEAD] = CASES["gpt2"]


def targets_of(case):
    """Returns the numbers of KV heads of a case's results."""
    return {UNEVEN: TARGETS[1:], ONE_HEAD: (1,)}.get(case, TARGETS)
