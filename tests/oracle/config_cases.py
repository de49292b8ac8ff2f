"""Generates cases of config.json: keys x families x the forms in which they are found (absent, null, as Transformers 4
and 5 write them, both), and what the checkpoint stores of the output head and of the biases.

A case says what is written; whether that is right is decided by Transformers on the same folder.
"""

from typing import NamedTuple

ABSENT = object()
COMMON = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 40,
          "vocab_size": 48, "max_position_embeddings": 64}  # fmt: skip
GROUPED = {**COMMON, "num_key_value_heads": 4}
GPT = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64, "vocab_size": 48}
BART = {"encoder_layers": 2, "decoder_layers": 1, "d_model": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "vocab_size": 48, "max_position_embeddings": 64, "pad_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 0}  # fmt: skip
T5GEMMA = {**GROUPED, "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 8, "bos_token_id": 0,
           "vocab_size": 49, "pad_token_id": 48, "layer_types": ["sliding_attention", "full_attention"], "attn_logit_softcapping": 4.0,
           "final_logit_softcapping": 5.0}  # fmt: skip
BASES = {
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": None},
    "gemma": {**GROUPED, "head_dim": 8},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "qwen2_moe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12,
                  "shared_expert_intermediate_size": 20},
    "qwen3_moe": {**GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12},
    "mixtral": {**GROUPED, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gemma2": {**GROUPED, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8,
               "attn_logit_softcapping": 4.0, "final_logit_softcapping": 5.0},
    "gemma3_text": {**GROUPED, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8,
                    "layer_types": ["sliding_attention", "full_attention"]},
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "olmo3": {**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "olmoe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "cohere": GROUPED,
    "cohere2": {**GROUPED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "granite": {**GROUPED, "attention_multiplier": 0.25, "residual_multiplier": 0.5},
    "smollm3": {**GROUPED, "no_rope_layer_interval": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
    "stablelm": GROUPED,
    "nemotron": GROUPED,
    "phi": GROUPED,
    "phi3": {**GROUPED, "pad_token_id": 0},
    "gpt_neox": COMMON,
    "gptj": {**GPT, "rotary_dim": 4},
    "gpt2": GPT,
    "gpt_bigcode": {**GPT, "multi_query": True},
    "opt": {**{key: value for key, value in COMMON.items() if key != "intermediate_size"}, "ffn_dim": 40},
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 4, "vocab_size": 48},
    "t5": {"num_layers": 2, "num_decoder_layers": 1, "d_model": 32, "d_kv": 6, "num_heads": 4, "d_ff": 40,
           "vocab_size": 48, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20,
           "decoder_start_token_id": 0},
    "t5gemma": {"encoder": T5GEMMA, "decoder": {**T5GEMMA, "num_hidden_layers": 1, "layer_types": ["full_attention"]},
                "vocab_size": 49, "decoder_start_token_id": 0},
    "bart": BART,
    "mbart": BART,
    "pegasus": BART,
    "marian": {**BART, "scale_embedding": True},
    # Tokens for padding have no position.
    "m2m_100": {**BART, "vocab_size": 49, "pad_token_id": 48},
    "whisper": {**{key: value for key, value in BART.items() if key != "max_position_embeddings"}, "bos_token_id": 3,
                "num_mel_bins": 4, "max_source_positions": 6, "max_target_positions": 64},
}  # fmt: skip
ROTARY = ("llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "mixtral",
          "olmo", "olmo2", "olmo3", "olmoe", "cohere", "cohere2", "granite", "smollm3", "stablelm", "nemotron", "phi",
          "phi3", "gpt_neox")  # fmt: skip
PARTIAL = ("stablelm", "nemotron", "phi", "phi3", "gpt_neox")
ACTIVATION_KEYS = {family: "activation_function"
                   for family in ("gptj", "gpt2", "gpt_bigcode", "opt", "bart", "mbart", "pegasus", "marian", "m2m_100",
                                  "whisper")}  # fmt: skip


class Case(NamedTuple):
    name: str
    family: str
    # Changes to the family's base: a key's value, or ABSENT.
    changes: dict
    # "as the class" (what Transformers would save), "equal", "different", "absent", "only": the output head beside the
    # embedding.
    head: str = "as the class"
    # "as the class", "with" (every projection has a bias), "without" (no projection has one).
    biases: str = "as the class"
    # Loaded and saved again by Transformers 5 before anything is compared.
    resaved: bool = False

    def config(self):
        config = {"model_type": self.family, **BASES[self.family], **self.changes}
        return {key: value for key, value in config.items() if value is not ABSENT}

    def words(self):
        """Returns what a refusal may name: the keys that the case writes, also inside of objects, or a tensor."""
        words = set(self.changes) | {"tensor '"}
        for value in self.changes.values():
            words |= set(value) if isinstance(value, dict) else set()
        return words


SCALINGS = {
    "default": {},
    "linear": {"factor": 2.5},
    "dynamic": {"factor": 2.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32},
}


def rope(kind, spelling="rope_type", **more):
    return {spelling: kind, **SCALINGS[kind], **more}


def rotary_forms(kind):
    """Yields the name of a form and its keys."""
    plain = {"rope_type": "default", "rope_theta": 700.0}
    yield "v4", {"rope_theta": 500.0, "rope_scaling": rope(kind, "type")}
    yield "v4-rope-type", {"rope_theta": 500.0, "rope_scaling": rope(kind)}
    yield "v5", {"rope_parameters": rope(kind, rope_theta=500.0)}
    yield "v5-theta-at-the-top", {"rope_theta": 500.0, "rope_parameters": rope(kind)}
    yield "both", {"rope_parameters": plain, "rope_scaling": rope(kind, "type")}
    yield "both-and-theta", {"rope_parameters": plain, "rope_theta": 300.0, "rope_scaling": rope(kind)}
    yield "both-other-way", {"rope_parameters": rope(kind, rope_theta=500.0), "rope_scaling": plain}
    yield "beside-null", {"rope_parameters": rope(kind, rope_theta=500.0), "rope_scaling": None}
    yield "beside-empty", {"rope_parameters": rope(kind, rope_theta=500.0), "rope_scaling": {}}


def rotary_cases():
    for family in ROTARY:
        for kind in SCALINGS:
            for form, keys in rotary_forms(kind):
                yield Case(f"rope-{kind}-{form}", family, keys)
        for name, keys in {
            "absent": {},
            "nulls": {"rope_parameters": None, "rope_scaling": None},
            "theta-null": {"rope_theta": None},
            "theta-null-inside": {"rope_parameters": {"rope_type": "default", "rope_theta": None}},
            "theta-integer": {"rope_theta": 500},
            "empty": {"rope_parameters": {}},
            "unknown-type": {"rope_scaling": {"type": "su", "factor": 2.0}},
            "longrope": {"rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}},
            "type-null": {"rope_parameters": {"rope_type": None, "rope_theta": 500.0}},
            "two-types": {"rope_scaling": {"type": "linear", "rope_type": "default", "factor": 3.0}},
            "two-types-other-way": {"rope_scaling": {"type": "default", "rope_type": "linear", "factor": 3.0}},
            "both-thetas": {"rope_theta": 500.0, "rope_parameters": {"rope_type": "default", "rope_theta": 900.0}},
            "base": {"rotary_emb_base": 500},
            "base-and-theta": {"rotary_emb_base": 500, "rope_theta": 900.0},
            "base-and-theta-inside": {"rotary_emb_base": 500,
                                      "rope_parameters": {"rope_type": "default", "rope_theta": 90.0}},
        }.items():  # fmt: skip
            yield Case(f"rope-{name}", family, keys)
        yield from partial_cases(family)


def partial_cases(family):
    inside = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75}
    for name, keys in {
        "top": {"partial_rotary_factor": 0.5},
        "null": {"partial_rotary_factor": None},
        "inside": {"rope_parameters": inside},
        "top-and-inside": {"partial_rotary_factor": 0.5, "rope_parameters": inside},
        "in-scaling": {"rope_scaling": {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}},
        "top-and-linear": {"partial_rotary_factor": 0.5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        "top-and-yarn": {"partial_rotary_factor": 0.5, "rope_scaling": rope("yarn")},
        "whole-and-linear": {"partial_rotary_factor": 1.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        "pct": {"rotary_pct": 0.5},
        "pct-null": {"rotary_pct": None},
        "pct-and-factor": {"rotary_pct": 0.5, "partial_rotary_factor": 0.75},
        "pct-and-inside": {"rotary_pct": 0.5, "rope_parameters": inside},
        "all-spellings": {"rotary_pct": 0.5, "rotary_emb_base": 700, "partial_rotary_factor": 0.75, "rope_theta": 90.0},
    }.items():
        yield Case(f"partial-{name}", family, keys)


def scaling_cases():
    """Yields the keys of yarn and llama3, of which each has a default of its own."""
    for family in ("llama", "qwen3", "stablelm", "gpt_neox", "mistral"):
        for kind in ("yarn", "llama3"):
            inner = rope(kind)
            bare = {key: value for key, value in inner.items() if key != "original_max_position_embeddings"}
            for name, keys in {
                "top": {"rope_scaling": bare, "original_max_position_embeddings": 16},
                "top-and-inside": {"rope_scaling": inner, "original_max_position_embeddings": 16},
                "top-null": {"rope_scaling": inner, "original_max_position_embeddings": None},
                "nowhere": {"rope_scaling": bare},
                "nowhere-nor-maximum": {"rope_scaling": bare, "max_position_embeddings": ABSENT},
                "null": {"rope_scaling": {**inner, "original_max_position_embeddings": None}},
                "v5-top": {"rope_parameters": {**inner, "rope_theta": 500.0}, "original_max_position_embeddings": 16},
                "factor-null": {"rope_scaling": {**inner, "factor": None}},
                "factor-absent": {"rope_scaling": {key: inner[key] for key in inner if key != "factor"}},
                "factor-below-one": {"rope_scaling": {**inner, "factor": 0.5}},
            }.items():
                yield Case(f"{kind}-original-{name}", family, keys)
        for key, values in {
            "mscale": (0.7, None), "truncate": (True, False, None), "beta_fast": (16, None, 0),
            "beta_slow": (2, None, 0), "attention_factor": (1.3, None, 0), "mscale_all_dim": (0.7,),
        }.items():  # fmt: skip
            for value in values:
                yield Case(f"yarn-{key}-{value}", family, {"rope_scaling": rope("yarn", **{key: value})})
        for first, second in ((1.0, 1.0), (0.7, 0.4), (0, 0), (0, 0.7), (0.7, 0), (None, 0.7), (0.7, None)):
            keys = {"mscale": first, "mscale_all_dim": second}
            yield Case(f"yarn-mscales-{first}-{second}", family, {"rope_scaling": rope("yarn", **keys)})
        for key in ("low_freq_factor", "high_freq_factor"):
            yield Case(f"llama3-{key}-null", family, {"rope_scaling": {**rope("llama3"), key: None}})
            without_key = {name: value for name, value in rope("llama3").items() if name != key}
            yield Case(f"llama3-{key}-absent", family, {"rope_scaling": without_key})
        for kind in ("linear", "dynamic"):
            yield Case(f"{kind}-factor-null", family, {"rope_scaling": rope(kind, factor=None)})
            yield Case(f"{kind}-factor-absent", family, {"rope_scaling": {"type": kind}})
        long = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
        yield Case("yarn-large-original", family, {"rope_scaling": long})
        yield Case("llama3-whole-number", family, {"rope_scaling": rope("llama3", factor=8)})


def longrope_cases():
    factors = {"short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.0], "long_factor": [1, 2, 3, 4, 5, 6, 7, 8]}
    for family in ("llama", "phi3"):
        for name, keys in {
            "old-name": {"type": "su"}, "older-name": {"type": "yarn"}, "v4": {"type": "longrope"},
            "factor": {"type": "longrope", "factor": 4.0}, "factor-null": {"type": "longrope", "factor": None},
            "attention-factor": {"type": "longrope", "attention_factor": 1.3},
            "attention-factor-null": {"type": "longrope", "attention_factor": None},
            "theta": {"rope_type": "longrope", "rope_theta": 700.0},
            "original-inside": {"type": "longrope", "original_max_position_embeddings": 16},
            "too-few": {"type": "longrope", "short_factor": [1.0] * 7},
            "words": {"type": "longrope", "long_factor": ["1"] * 8},
            "null": {"type": "longrope", "long_factor": None},
            "zero": {"type": "longrope", "long_factor": [0.0] * 8},
        }.items():  # fmt: skip
            for where, original in {"short": 32, "long": 16, "nowhere": ABSENT}.items():
                beside = {"original_max_position_embeddings": original}
                yield Case(f"longrope-{name}-{where}", family, {"rope_scaling": {**factors, **keys}, **beside})
        for missing in factors:
            kept = {key: value for key, value in factors.items() if key != missing}
            yield Case(f"longrope-without-{missing}", family, {"rope_scaling": {"type": "longrope", **kept}})


def head_cases():
    for family in BASES:
        for tied in (ABSENT, True, False, None):
            for head in ("equal", "different", "absent", "only"):
                name = "absent" if tied is ABSENT else tied
                yield Case(f"head-{head}-tied-{name}", family, {"tie_word_embeddings": tied}, head=head)


def bias_cases():
    for family in BASES:
        for key in ("attention_bias", "mlp_bias", "use_qkv_bias", "enable_bias", "qkv_bias", "use_bias"):
            for value in (True, False):
                for biases in ("as the class", "with", "without"):
                    yield Case(f"{key}-{value}-{biases}".replace(" ", "-"), family, {key: value}, biases=biases)
            yield Case(f"{key}-null", family, {key: None})
        for biases in ("with", "without"):
            yield Case(f"biases-{biases}", family, {}, biases=biases)


def activation_cases():
    for family in BASES:
        if family in ("bloom", "t5", "t5gemma"):
            continue
        key = "hidden_activation" if family in ("gemma2", "gemma3_text") else ACTIVATION_KEYS.get(family, "hidden_act")
        for name in ("silu", "swish", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python",
                     "gelu_accurate", "gelu_python_tanh", "relu", "relu2", "quick_gelu", "tanh", None):  # fmt: skip
            yield Case(f"{key}-{name}", family, {key: name})
    for old, new in (("gelu", "gelu_pytorch_tanh"), ("gelu_pytorch_tanh", "gelu"), ("gelu", None), (ABSENT, "gelu"),
                     (ABSENT, None), ("gelu", ABSENT)):  # fmt: skip
        name = "-".join("absent" if value is ABSENT else str(value) for value in (old, new))
        yield Case(f"two-activations-{name}", "gemma", {"hidden_act": old, "hidden_activation": new})


def default_cases():
    """Yields keys that are left out or null, and keys with two spellings."""
    for family in BASES:
        keys = {"num_key_value_heads", "max_position_embeddings", "head_dim", "rms_norm_eps", "layer_norm_eps",
                "layer_norm_epsilon", "use_parallel_residual", "n_inner", "n_positions", "sliding_window", "rotary_dim",
                "num_decoder_layers", "word_embed_proj_dim", "use_sliding_window", "layer_types", "clip_qkv",
                "qk_layernorm", "do_layer_norm_before", "scale_attn_weights", "use_bidirectional_attention",
                "decoder_start_token_id", "hidden_act", "num_experts", "num_experts_per_tok", "moe_intermediate_size",
                "norm_topk_prob", "mlp_only_layers", "decoder_sparse_step", "logit_scale", "use_qk_norm",
                "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "no_rope_layers",
                "no_rope_layer_interval", "embedding_multiplier", "logits_scaling", "attention_multiplier",
                "residual_multiplier", "sliding_window_pattern", "num_local_experts",
                "shared_expert_intermediate_size", "scale_embedding"}  # fmt: skip
        for key in sorted(keys):
            yield Case(f"{key}-null", family, {key: None})
            if BASES[family].get(key) is not None or key == "sliding_window":
                yield Case(f"{key}-absent", family, {key: ABSENT})
        for heads in (2, 8, 32):
            changes = {"hidden_size": 256 if heads == 32 else 64, "num_attention_heads": heads}
            if "num_key_value_heads" in BASES[family]:
                yield Case(f"kv-heads-absent-of-{heads}", family, {**changes, "num_key_value_heads": ABSENT})
                yield Case(f"kv-heads-null-of-{heads}", family, {**changes, "num_key_value_heads": None})
                yield Case(f"one-kv-head-of-{heads}", family, {**changes, "num_key_value_heads": 1})
        if "num_attention_heads" in BASES[family]:
            yield Case("head-dim-6", family, {"head_dim": 6})
            yield Case("head-dim-8", family, {"head_dim": 8})
    yield from single_cases()


def single_cases():
    for window in (8, 1, ABSENT, None):
        for family in ("mistral", "phi3"):
            yield Case(f"window-{'absent' if window is ABSENT else window}", family, {"sliding_window": window})
    full, sliding = ["full_attention"] * 2, ["full_attention", "sliding_attention"]
    for family in ("qwen2", "qwen3"):
        for name, keys in {
            "off": {"use_sliding_window": False, "sliding_window": 8},
            "on": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            "on-above-all-layers": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2},
            "on-by-default": {"use_sliding_window": True, "sliding_window": 8},
            "on-without-window": {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
            "on-all-full": {"use_sliding_window": True, "max_window_layers": 0, "layer_types": full},
            "listed": {"layer_types": sliding, "use_sliding_window": True, "sliding_window": 8},
            "listed-off": {"layer_types": sliding, "use_sliding_window": False},
            "listed-full": {"layer_types": full},
        }.items():
            yield Case(f"sliding-{name}", family, keys)
    yield from kind_cases()
    spellings = {"hidden_size": ("n_embd", 32, 16), "num_attention_heads": ("n_head", 4, 2),
                 "num_hidden_layers": ("n_layer", 2, 1),
                 "max_position_embeddings": ("n_positions", 64, 40)}  # fmt: skip
    for family in ("gpt2", "gpt_bigcode", "gptj", "bloom"):
        for general, (own, right, other) in spellings.items():
            if family == "bloom" and own in ("n_embd", "n_positions"):
                continue
            yield Case(f"{general}-alone", family, {general: right, own: ABSENT})
            yield Case(f"{general}-and-{own}", family, {general: other, own: right})
    yield Case("n-embed-and-hidden-size", "bloom", {"n_embed": 16, "hidden_size": 32})
    yield Case("n-embed-alone", "bloom", {"n_embed": 32, "hidden_size": ABSENT})
    for dimension in (4, 8, 2, ABSENT):
        yield Case(f"rotary-dim-{'absent' if dimension is ABSENT else dimension}", "gptj", {"rotary_dim": dimension})
    yield Case("rotary-dim-absent-wide", "gptj", {"rotary_dim": ABSENT, "n_embd": 256})
    for family in ("gpt2", "gpt_bigcode"):
        yield Case("positions-absent", family, {"n_positions": ABSENT})
    yield Case("many-queries", "gpt_bigcode", {"multi_query": False})
    yield Case("queries-absent", "gpt_bigcode", {"multi_query": ABSENT})
    yield Case("affine", "opt", {"layer_norm_elementwise_affine": False})
    yield Case("norm-after", "opt", {"do_layer_norm_before": False})
    yield Case("projected", "opt", {"word_embed_proj_dim": 16})
    yield Case("last-token", "t5", {"decoder_start_token_id": 47})
    yield Case("token-beyond", "t5", {"decoder_start_token_id": 48})
    yield from t5_cases()
    yield from bart_cases()
    yield from t5gemma_cases()


def kind_cases():
    types = {"full": ["full_attention"] * 2, "sliding": ["sliding_attention"] * 2,
             "mixed": ["full_attention", "sliding_attention"], "short": ["full_attention"],
             "unknown": ["full_attention", "linear_attention"]}  # fmt: skip
    for family in ("gemma2", "gemma3_text", "olmo3", "cohere2", "smollm3", "qwen2_moe"):
        for name, listed in types.items():
            yield Case(f"layer-types-{name}", family, {"layer_types": listed})
            yield Case(f"layer-types-{name}-no-window", family, {"layer_types": listed, "sliding_window": None})
        yield Case("layer-types-default", family, {"layer_types": ABSENT})
        yield Case("layer-types-pattern", family, {"layer_types": ABSENT, "sliding_window_pattern": 2})
    full, sliding = {"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0}, {"rope_type": "default", "rope_theta": 90.0}
    for family in ("gemma3_text", "olmo3"):
        for name, keys in {
            "both": {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}},
            "full": {"rope_parameters": {"full_attention": full}},
            "sliding": {"rope_parameters": {"sliding_attention": sliding}},
            "sliding-and-scaling": {"rope_parameters": {"full_attention": {"rope_type": "default"},
                                                        "sliding_attention": sliding}, "rope_scaling": rope("yarn")},
            "theta-beside": {"rope_theta": 300.0, "rope_parameters": {"full_attention": {"rope_type": "default"}}},
            "local-theta": {"rope_local_base_freq": 50.0, "rope_theta": 300.0},
            "null-inside": {"rope_parameters": {"full_attention": full, "sliding_attention": None}},
            "yarn": {"rope_parameters": {"full_attention": {**rope("yarn"), "truncate": False}}},
            "yarn-original-beside": {"rope_parameters": {"full_attention": rope("yarn")},
                                     "original_max_position_embeddings": 8},
            "yarn-original-nowhere": {"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}},
                                      "original_max_position_embeddings": 8},
        }.items():
            yield Case(f"rope-by-type-{name}", family, keys)
    for family in ("qwen2_moe", "qwen3_moe"):
        for name, keys in {
            "step": {"decoder_sparse_step": 2}, "only": {"mlp_only_layers": [1]}, "normed": {"norm_topk_prob": True},
            "too-many": {"num_experts_per_tok": 5}, "windowed": {"use_sliding_window": True, "sliding_window": 8},
        }.items():  # fmt: skip
            yield Case(f"experts-{name}", family, keys)
    for name, keys in {
        "none": {"no_rope_layers": [1, 1]}, "first": {"no_rope_layers": [0, 1]}, "short": {"no_rope_layers": [1]},
        "words": {"no_rope_layers": ["1", "0"]}, "booleans": {"no_rope_layers": [True, False]},
        "nulls": {"no_rope_layers": [1, None]}, "long": {"no_rope_layers": [1, 0, 1]},
        "window": {"use_sliding_window": True, "sliding_window": 8},
    }.items():  # fmt: skip
        yield Case(f"no-rope-{name}", "smollm3", keys)
    for name, keys in {"norm": {"use_qk_norm": True}, "scale": {"logit_scale": 0.5}}.items():
        yield Case(f"cohere-{name}", "cohere", keys)


def t5_cases():
    for form in ("relu", "gelu", "silu", "gated-gelu", "gated-silu", "gated-relu", "gated-gelu_new", "gelu-gated",
                 ABSENT, None):  # fmt: skip
        name = "absent" if form is ABSENT else form
        yield Case(f"feed-forward-{name}", "t5", {"feed_forward_proj": form})
        yield Case(f"feed-forward-{name}-dense", "t5", {"feed_forward_proj": form, "dense_act_fn": "silu"})
    for gated in (True, False, None):
        yield Case(f"is-gated-{gated}", "t5", {"feed_forward_proj": "relu", "is_gated_act": gated})
    yield Case("dense-null", "t5", {"dense_act_fn": None})
    for scaled in (ABSENT, True, False, None):
        for tied in (ABSENT, True, False):
            for head in ("different", "absent"):
                names = ["absent" if value is ABSENT else value for value in (scaled, tied)]
                keys = {"scale_decoder_outputs": scaled, "tie_word_embeddings": tied}
                yield Case(f"scaled-{names[0]}-tied-{names[1]}-{head}", "t5", keys, head=head)
    for start in (0, 1, 5, None, ABSENT):
        yield Case(f"start-{'absent' if start is ABSENT else start}", "t5", {"decoder_start_token_id": start})
    for general, own, value in (("hidden_size", "d_model", 16), ("num_attention_heads", "num_heads", 2),
                                ("head_dim", "d_kv", 4)):  # fmt: skip
        yield Case(f"{general}-and-{own}", "t5", {general: value})
        yield Case(f"{general}-alone", "t5", {general: value, own: ABSENT})
    yield Case("num-hidden-layers-and-num-layers", "t5", {"num_hidden_layers": 1})


def bart_cases():
    for family in ("bart", "mbart", "pegasus", "marian", "m2m_100", "whisper"):
        for name, keys in {
            "heads-differ": {"decoder_attention_heads": 2},
            "widths-differ": {"decoder_ffn_dim": 24},
            "scaled": {"scale_embedding": True},
            "not-scaled": {"scale_embedding": False},
            "old-keys": {"normalize_before": True, "normalize_embedding": True, "add_final_layer_norm": True,
                         "static_position_embeddings": True},
            "general-names": {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2},
            "other-hidden-size": {"hidden_size": 16},
            "other-heads": {"num_attention_heads": 2, "decoder_attention_heads": 2},
            "other-layers": {"num_hidden_layers": 1},
            "shared": {"share_encoder_decoder_embeddings": True},
            "copies-absent": {"tie_word_embeddings": False},
        }.items():  # fmt: skip
            yield Case(name, family, keys)
    yield Case("not-shared", "marian", {"share_encoder_decoder_embeddings": False})
    # Other spectrograms than that of the base need other inputs.
    for key, values in {"num_mel_bins": (None, "4", 0), "max_source_positions": (None, 0), "num_key_value_heads": (None, 2, 4),
                        "max_target_positions": (ABSENT, None, 32)}.items():
        for value in values:
            yield Case(f"{key}-{'absent' if value is ABSENT else value}", "whisper", {key: value})
    yield Case("decoder-vocabulary", "marian", {"decoder_vocab_size": 48})
    yield Case("other-decoder-vocabulary", "marian", {"decoder_vocab_size": 40})


def t5gemma_cases():
    for name, keys in {"heads": {"num_attention_heads": 2, "num_key_value_heads": 2}, "kv-heads": {"num_key_value_heads": 2},
                       "cap": {"attn_logit_softcapping": 2.0}, "width": {"intermediate_size": 24}}.items():  # fmt: skip
        yield Case(f"encoder-{name}-differs", "t5gemma", {"encoder": {**T5GEMMA, **keys}})
    for name, keys in {"grouped": {"num_key_value_heads": 2}, "biases": {"attention_bias": True}, "eager": {},
                       "rope": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
                       "no-caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
                       "windows": {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 4}}.items():
        yield Case(f"both-{name}", "t5gemma", {"encoder": {**T5GEMMA, **keys}, "decoder": {**T5GEMMA, **keys}})


def resaved_cases():
    """Yields folders that Transformers 5 has loaded and saved: it writes keys of its own."""
    for family in BASES:
        for head in ("equal", "different", "absent"):
            for tied in (ABSENT, True, False):
                name = "absent" if tied is ABSENT else tied
                keys = {"tie_word_embeddings": tied}
                yield Case(f"resaved-{head}-tied-{name}", family, keys, head=head, resaved=True)
    for family in ROTARY:
        for kind in SCALINGS:
            keys = {"rope_theta": 500.0, "rope_scaling": rope(kind, "type")}
            yield Case(f"resaved-{kind}", family, keys, resaved=True)
    for form in ("relu", "gated-gelu", "gated-silu"):
        keys = {"feed_forward_proj": form, "tie_word_embeddings": False}
        yield Case(f"resaved-{form}", "t5", keys, head="different", resaved=True)


def all_cases():
    generators = (rotary_cases, scaling_cases, longrope_cases, head_cases, bias_cases, activation_cases, default_cases, resaved_cases)
    cases = {}
    for generator in generators:
        for case in generator():
            cases.setdefault(f"{case.family}/{case.name}", case)
    return cases
