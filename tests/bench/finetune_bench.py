"""Compares an optimizer step of distilled fine-tuning in Regroup and in Transformers + PyTorch eager, in turns.

    build/venv/bin/python tests/bench/finetune_bench.py [--programs build/release/bench] [--models small,wide]

Both sides train the same merged student on the same batch with the same loss, optimizer and rates; their losses are
compared step by step before anything is timed. Transformers stays in this process; each of Regroup's turns is a
separate process, whose first step is not measured."""

import argparse
import pathlib
import statistics
import tempfile

import torch
import transformers

import training_cases
import transformers_side

CASES = {"small": (8, 256), "wide": (2, 256)}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=training_cases.ROOT / "build/release/bench")
    parser.add_argument("--models", default="small,wide")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps of one turn, the first of which is not measured")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--sequences", type=int, help="sequences of a batch")
    parser.add_argument("--sequence-length", type=int)
    return parser.parse_args()


def measure(model, dtype, sequences, length, arguments, folder):
    vocabulary = transformers.AutoConfig.from_pretrained(model).vocab_size
    batch = training_cases.write_batch(folder / "batch.jsonl", sequences, length, vocabulary)
    rate = 1e-4
    options = {"model": model, "data": folder / "batch.jsonl", "dtype": dtype, "kv-heads": arguments.kv_heads,
               "sequence-length": length, "sequences-per-rank": sequences, "steps": arguments.steps,
               "learning-rate": rate}
    side = transformers_side.TransformersSide(model, arguments.kv_heads, getattr(torch, dtype), batch, rate,
                                              arguments.steps)
    ours, theirs, ratios = [], [], []
    for turn in range(arguments.turns):
        my_steps = training_cases.run_product(arguments.programs / "train_steps", folder / "curves.jsonl",
                                              arguments.threads, options)
        other_steps = [side.step() for _ in range(arguments.steps)]
        if turn == 0:
            training_cases.check_losses(my_steps, other_steps, dtype)
        ours += training_cases.step_seconds(my_steps)
        theirs += training_cases.step_seconds(other_steps)
        ratios.append(statistics.median(training_cases.step_seconds(other_steps)) /
                      statistics.median(training_cases.step_seconds(my_steps)))
    tokens = batch.numel()
    print(f"  Regroup       {training_cases.spread(ours)}, {tokens / statistics.median(ours):.0f} tokens/s")
    print(f"  Transformers  {training_cases.spread(theirs)}, {tokens / statistics.median(theirs):.0f} tokens/s")
    print(f"  ratio of tokens/s {statistics.median(ratios):.3f} (turns: {', '.join(f'{r:.3f}' for r in ratios)}); "
          f"of the fastest steps {min(theirs) / min(ours):.3f}", flush=True)


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"{training_cases.machine()}; {arguments.threads} threads; torch {torch.__version__}, "
          f"Transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in arguments.models.split(","):
            model = training_cases.SMALL_MODEL if name == "small" else training_cases.write_wide_model(folder / "wide")
            sequences, length = CASES[name]
            sequences, length = arguments.sequences or sequences, arguments.sequence_length or length
            for dtype in arguments.dtypes.split(","):
                print(f"{name}, {dtype}, {arguments.kv_heads} KV heads, batch {sequences} x {length}", flush=True)
                measure(model, dtype, sequences, length, arguments, folder)


if __name__ == "__main__":
    main()
