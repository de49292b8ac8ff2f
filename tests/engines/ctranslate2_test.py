"""Runs converted models, unchanged, in CTranslate2 and compares its tokens with Transformers'. CTranslate2 repeats shared heads
before it caches them: equal output, but a cache as large as the source's.

usage: ctranslate2_test.py <regroup> <logits_tool> <source folder> [trained models' folder]
Exits with 77, which ctest counts as skipped, where the engine is not installed.
"""

import os
import sys
import tempfile

from engine_families import NEW_TOKENS, ROOT
from engine_runs import is_installed, packages_folder

sys.path.append(str(ROOT / "tests/oracle"))

import torch  # noqa: E402

from prompts import greedy_of, prompts_of  # noqa: E402
from regroup_programs import Programs  # noqa: E402
from trained_models import trained_models  # noqa: E402
from transformers_checks import load  # noqa: E402


def ctranslate2_greedy(folder, scratch, prompts):
    """Returns continuations by CTranslate2, which converts the folder with its own reader of LLaMA checkpoints."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    converted = f"{scratch}/{os.path.basename(folder)}-ct2"
    TransformersConverter(folder).convert(converted, quantization="float32", force=True)
    generator = ctranslate2.Generator(converted, device="cpu", intra_threads=1)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    words = [[tokenizer.id_to_token(token) for token in prompt] for prompt in prompts]
    # One at a time: batches of unlike lengths would be padded.
    results = [generator.generate_batch([one], max_length=NEW_TOKENS, min_length=NEW_TOKENS, sampling_topk=1,
                                        end_token=[], include_prompt_in_result=False)[0] for one in words]  # fmt: skip
    return [result.sequences_ids[0] for result in results]


def check(engine, folder, data, scratch):
    model = load(folder)
    model.generation_config.eos_token_id = None
    prompts = prompts_of(folder, data, 8, 60)
    expected = greedy_of(model, prompts, NEW_TOKENS)
    actual = engine(folder, scratch, prompts)
    for prompt, own, other in zip(prompts, actual, expected, strict=True):
        assert own == other, (folder, len(prompt), own, other)
    print(f"{folder}: {len(prompts)} continuations of {NEW_TOKENS} tokens are equal", flush=True)


def main():
    regroup, logits_tool, source, *named = sys.argv[1:]
    programs = Programs(regroup, logits_tool)
    if not is_installed("ctranslate2"):
        print("SKIPPED, nothing was checked: ctranslate2 is not installed (deploy/install.sh --with-engines)")
        sys.exit(77)
    # Behind the environment of the oracles, whose torch and Transformers its converter uses.
    sys.path.append(str(packages_folder("ctranslate2")))
    import ctranslate2

    print(f"CTranslate2 {ctranslate2.__version__}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for trained, kv_heads in zip(trained_models(source, named), (2, 4)):
            folder = programs.convert(work, f"{trained.name}-k{kv_heads}", trained.folder, kv_heads, finetune={"method": "none"},
                                      calibration={"data": trained.train, "sequences": 8, "sequence_length": 128})  # fmt: skip
            check(ctranslate2_greedy, folder, trained.valid, work)


main()
