"""Compares training with the teacher's hidden states on disk with training that runs the teacher in every step, in
turns.

    build/venv/bin/python tests/bench/cache_bench.py [--programs build/release/bench] [--model small|wide]

It makes several passes over the same windows. The losses of all steps must be equal; then it compares the steps after
the first pass, and those of the first pass, which write the states."""

import argparse
import pathlib
import statistics
import tempfile

import training_cases


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=training_cases.ROOT / "build/release/bench")
    parser.add_argument("--model", choices=["small", "wide"], default="small")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps of one pass over the data")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=8, help="sequences of a step")
    parser.add_argument("--sequence-length", type=int, default=256)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    print(f"{training_cases.machine()}; {arguments.threads} threads, {arguments.model}, {arguments.dtype}, "
          f"{arguments.passes} passes of {arguments.steps} steps of {arguments.sequences} x {arguments.sequence_length}")
    computed, cached, first_computed, first_cached, ratios = [], [], [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        small = arguments.model == "small"
        model = training_cases.SMALL_MODEL if small else training_cases.write_wide_model(folder / "wide")
        training_cases.write_batch(folder / "windows.jsonl", arguments.sequences * arguments.steps,
                                   arguments.sequence_length, 4096 if small else 32000)
        options = {"model": model, "data": folder / "windows.jsonl", "dtype": arguments.dtype,
                   "sequence-length": arguments.sequence_length, "sequences-per-rank": arguments.sequences,
                   "steps": arguments.steps * arguments.passes}
        for turn in range(arguments.turns):
            run = [training_cases.run_product(arguments.programs / "train_steps", folder / "curves.jsonl",
                                              arguments.threads, options | more)
                   for more in ({}, {"teacher-states": folder / f"states-{turn}"})]
            for without, with_cache in zip(*run):
                # A teacher rounds a batch differently than its windows one by one.
                if abs(without["loss"] - with_cache["loss"]) > 1e-5 * abs(without["loss"]):
                    raise SystemExit(f"step {without['step']}: loss {without['loss']} and {with_cache['loss']}")
            seconds = [[step["step_seconds"] for step in steps] for steps in run]
            first_computed += seconds[0][1:arguments.steps]
            first_cached += seconds[1][1:arguments.steps]
            computed += seconds[0][arguments.steps:]
            cached += seconds[1][arguments.steps:]
            ratios.append(statistics.median(seconds[0][arguments.steps:]) /
                          statistics.median(seconds[1][arguments.steps:]))
    print(f"first pass, computed   {training_cases.spread(first_computed)}")
    print(f"first pass, kept       {training_cases.spread(first_cached)}")
    print(f"later passes, computed {training_cases.spread(computed)}")
    print(f"later passes, read     {training_cases.spread(cached)}")
    print(f"later passes: {statistics.median(ratios):.3f} times as fast "
          f"(turns: {', '.join(f'{r:.3f}' for r in ratios)}); of the fastest steps {min(computed) / min(cached):.3f}")


if __name__ == "__main__":
    main()
