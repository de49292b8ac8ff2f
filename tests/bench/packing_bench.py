"""Compares distilled fine-tuning on documents of real lengths: packed without attention across documents in Regroup,
padded to the longest of each batch in Transformers + PyTorch eager, in turns.

    build/venv/bin/python tests/bench/packing_bench.py [--programs build/release/bench] [--data texts.jsonl]

Both sides see the same tokens in the same documents, and the mean loss over them is compared step by step before
anything is timed. Documents fill windows in their order in the file; the one that reaches the end of a window is cut
there, since equal outputs need equal documents. Tokens per second do not count padding."""

import argparse
import json
import pathlib
import statistics
import tempfile
import time

import tokenizers
import torch
import torch.nn.functional as F
import transformers

import trained_model
import training_cases
import transformers_side



def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=training_cases.ROOT / "build/release/bench")
    parser.add_argument("--model", type=pathlib.Path, default=training_cases.SMALL_MODEL)
    parser.add_argument("--data", type=pathlib.Path, default=trained_model.TEXTS / "train.jsonl")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps of one turn, the first of which is not measured")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=8, help="windows of a step")
    parser.add_argument("--window-length", type=int, default=256)
    parser.add_argument("--padded-batch", type=int, default=16, help="documents of one pass of Transformers")
    return parser.parse_args()


def fill_windows(arguments):
    """Returns lists of documents, each of which fills a window."""
    tokenizer = tokenizers.Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    windows, room = [[]], arguments.window_length
    for line in open(arguments.data):
        ids = tokenizer.encode(json.loads(line)["text"]).ids[:room]
        if len(ids) < 2:
            continue
        windows[-1].append(ids)
        room -= len(ids)
        if room < 2:
            if room == 1:
                windows[-1][-1] = windows[-1][-1] + windows[-1][-1][-1:]
            if len(windows) == arguments.windows:
                return windows
            windows.append([])
            room = arguments.window_length
    raise SystemExit(f"{arguments.data} is too short")


class PaddedSide(transformers_side.TransformersSide):
    """Trains the same student with the same optimizer on padded documents."""

    def set_documents(self, documents, size):
        self.tokens = sum(map(len, documents))
        self.batches = []
        for first in range(0, len(documents), size):
            some = documents[first:first + size]
            longest = max(map(len, some))
            ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in some])
            mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in some])
            self.batches.append((ids, mask))

    def padded_loss(self, ids, mask):
        with torch.no_grad():
            log_p = F.log_softmax(self.teacher(ids, attention_mask=mask, use_cache=False).logits.float(), -1)
        log_q = F.log_softmax(self.student(ids, attention_mask=mask, use_cache=False).logits.float(), -1)
        divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
        return (divergence * mask).sum() / self.tokens

    def step(self):
        start, total = time.perf_counter(), 0.0
        for ids, mask in self.batches:
            loss = self.padded_loss(ids, mask)
            loss.backward()
            total += loss.item()
        self.update()
        self.done += 1
        return {"loss": total, "step_seconds": time.perf_counter() - start}


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    windows = fill_windows(arguments)
    documents = [ids for texts in windows for ids in texts]
    rate, tokens = 1e-4, sum(map(len, documents))
    side = PaddedSide(arguments.model, arguments.kv_heads, getattr(torch, arguments.dtype), None, rate, arguments.steps)
    side.set_documents(documents, arguments.padded_batch)
    padded = sum(ids.numel() for ids, _ in side.batches)
    print(f"{training_cases.machine()}; {arguments.threads} threads; torch {torch.__version__}, Transformers "
          f"{transformers.__version__}; {arguments.dtype}, {len(documents)} documents of {min(map(len, documents))} to "
          f"{max(map(len, documents))} tokens, {tokens} in all, {padded} with padding")
    ours, theirs, ratios = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        training_cases.write_windows(folder / "windows.jsonl", windows)
        options = {"model": arguments.model, "data": folder / "windows.jsonl", "dtype": arguments.dtype,
                   "kv-heads": arguments.kv_heads, "sequence-length": arguments.window_length,
                   "sequences-per-rank": arguments.windows, "steps": arguments.steps, "learning-rate": rate,
                   "across-documents": "false"}
        for turn in range(arguments.turns):
            my_steps = training_cases.run_product(arguments.programs / "train_steps", folder / "curves.jsonl",
                                                  arguments.threads, options)
            other_steps = [side.step() for _ in range(arguments.steps)]
            if turn == 0:
                training_cases.check_losses(my_steps, other_steps, arguments.dtype)
            ours += training_cases.step_seconds(my_steps)
            theirs += training_cases.step_seconds(other_steps)
            ratios.append(statistics.median(training_cases.step_seconds(other_steps)) /
                          statistics.median(training_cases.step_seconds(my_steps)))
    print(f"  Regroup, packed       {training_cases.spread(ours)}, {tokens / statistics.median(ours):.0f} tokens/s")
    print(f"  Transformers, padded  {training_cases.spread(theirs)}, {tokens / statistics.median(theirs):.0f} tokens/s")
    print(f"  ratio of tokens/s {statistics.median(ratios):.3f} (turns: {', '.join(f'{r:.3f}' for r in ratios)}); "
          f"of the fastest steps {min(theirs) / min(ours):.3f}")


if __name__ == "__main__":
    main()
