"""Runs in the environment of vLLM: loads one model folder after the other as it is, and decodes greedily.

usage: vllm_reader.py <answers.jsonl>, with [{"folder": F, "prompts": [[id, ...], ...], "new_tokens": N}, ...] on standard
input

Writes one line per folder: {"folder": F, "cache_tokens": N, "tokens": [[id, ...], ...], "log_probabilities": [[x, ...],
...]}, or {"folder": F, "error": TEXT} where vLLM does not load it. `cache_tokens` is what vLLM reports as the size of its
KV cache, which has 1 GiB.
"""

import gc
import os

os.environ.update({"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1",
                   # The engine in this process, so that one process loads all folders.
                   "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                   "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"})  # fmt: skip

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.distributed.parallel_state import cleanup_dist_env_and_memory  # noqa: E402

from reader_loop import answer_all  # noqa: E402


def decode(engine, prompts, new_tokens):
    greedy = SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True, logprobs=1, detokenize=False)
    outputs = [answer.outputs[0] for answer in engine.generate([{"prompt_token_ids": one} for one in prompts], greedy,
                                                               use_tqdm=False)]  # fmt: skip
    tokens = [list(output.token_ids) for output in outputs]
    scores = [[place[token].logprob for token, place in zip(output.token_ids, output.logprobs)] for output in outputs]
    return tokens, scores


def read(folder, prompts, new_tokens):
    engine = LLM(model=folder, dtype="float32", enforce_eager=True, skip_tokenizer_init=True, max_model_len=128, seed=0,
                 enable_prefix_caching=False)  # fmt: skip
    cache_tokens = engine.llm_engine.vllm_config.cache_config.kv_cache_size_tokens
    tokens, scores = decode(engine, prompts, new_tokens)
    return {"cache_tokens": cache_tokens, "tokens": tokens, "log_probabilities": scores}


def free_memory():
    gc.collect()
    cleanup_dist_env_and_memory()


answer_all(read, after_each=free_memory)
