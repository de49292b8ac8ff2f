"""Runs in an engine's environment and times its decoding steps: engine_bench.py starts one for the source and one for the
result, and asks them in turns.

usage: engine_decode.py vllm <folder> <gib of cache> <positions> <device>
       engine_decode.py llama-cpp <file.gguf> <cells> <slots> <threads> <device>

Reads lines {"requests": B, "context": C, "steps": N} from standard input and answers each with a line "ANSWER {"seconds":
[seconds of one step for all B requests], ...}". The first answer, without a request, is {"cache_tokens": tokens that fit}.
"""

import concurrent.futures
import json
import os
import random
import sys
import time


def prompts_of(requests, length, vocabulary):
    """Returns different ids for each request, so that no cache of prefixes shortens the reading."""
    numbers = random.Random(1)
    return [[numbers.randrange(5, vocabulary) for _ in range(length)] for _ in range(requests)]


class Vllm:
    def __init__(self, folder, gib, positions, device):
        if device == "cpu":
            os.environ.update({"VLLM_CPU_KVCACHE_SPACE": gib, "VLLM_CPU_OMP_THREADS_BIND": "nobind"})
        os.environ.update({"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
                           "VLLM_LOGGING_LEVEL": "WARNING"})
        from vllm import LLM, SamplingParams

        more = {"enforce_eager": True, "dtype": "float32"} if device == "cpu" else {
            "dtype": "bfloat16", "kv_cache_memory_bytes": int(gib) * 2**30}
        self.engine = LLM(model=folder, skip_tokenizer_init=True, max_model_len=int(positions), max_num_seqs=1024,
                          enable_prefix_caching=False, **more).llm_engine
        self.sampling = SamplingParams
        self.vocabulary = min(4096, self.engine.vllm_config.model_config.get_vocab_size())
        self.cache_tokens = self.engine.vllm_config.cache_config.kv_cache_size_tokens
        self.count = 0

    def measure(self, requests, context, steps):
        """Times the steps in which every request gets a token, after all prompts have been read."""
        # Requests whose prompts are read first decode meanwhile: every one gets tokens to spare.
        limit = self.engine.vllm_config.model_config.max_model_len - context
        sampling = self.sampling(temperature=0, max_tokens=limit, ignore_eos=True, detokenize=False)
        names = []
        for prompt in prompts_of(requests, context, self.vocabulary):
            self.count += 1
            names.append(str(self.count))
            self.engine.add_request(names[-1], {"prompt_token_ids": prompt}, sampling)
        begun, seconds = set(), []
        while len(seconds) < steps + 1:
            started = time.perf_counter()
            outputs = self.engine.step()
            taken = time.perf_counter() - started
            if len(begun) == requests and len(outputs) == requests:
                seconds.append(taken)
            elif any(output.finished for output in outputs):
                raise SystemExit(f"{requests} requests of {context} tokens do not fit at once")
            begun.update(output.request_id for output in outputs)
        self.engine.abort_request(names)
        while self.engine.has_unfinished_requests():
            self.engine.step()
        return {"seconds": seconds[1:]}


class LlamaCpp:
    def __init__(self, file, cells, slots, threads, device):
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = file
        parameters.n_ctx, parameters.n_parallel = int(cells), int(slots)
        parameters.n_gpu_layers = 0 if device == "cpu" else 999
        kind = xllamacpp.ggml_type.GGML_TYPE_F32 if device == "cpu" else xllamacpp.ggml_type.GGML_TYPE_F16
        parameters.cache_type_k = parameters.cache_type_v = kind
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = int(threads)
        parameters.cache_ram_mib = 0
        parameters.fit_params = False
        parameters.n_threads_http = int(slots) + 2
        self.server, self.cache_tokens = xllamacpp.Server(parameters), int(cells)

    def ask(self, slot, prompt, new_tokens):
        return self.server.handle_completions({"prompt": prompt, "n_predict": new_tokens, "temperature": 0.0, "id_slot": slot,
                                               "cache_prompt": True, "ignore_eos": True})

    def measure(self, requests, context, steps):
        """Reads all prompts, then times continuations of the prompts that the slots still hold."""
        prompts = prompts_of(requests, context - steps, 700)
        with concurrent.futures.ThreadPoolExecutor(requests) as threads:
            list(threads.map(lambda one: self.ask(*one, 1), enumerate(prompts)))
            answers = list(threads.map(lambda one: self.ask(*one, steps), enumerate(prompts)))
        slowest = max(answer["timings"]["predicted_per_token_ms"] for answer in answers)
        cached = min(answer["timings"]["cache_n"] for answer in answers)
        if cached < context - steps - 8:
            raise SystemExit(f"llama.cpp kept only {cached} of {context - steps} tokens of a prompt")
        return {"seconds": [slowest / 1e3]}


def main():
    engine = {"vllm": Vllm, "llama-cpp": LlamaCpp}[sys.argv[1]](*sys.argv[2:])
    print("ANSWER", json.dumps({"cache_tokens": engine.cache_tokens}), flush=True)
    for line in sys.stdin:
        print("ANSWER", json.dumps(engine.measure(**json.loads(line))), flush=True)


main()
