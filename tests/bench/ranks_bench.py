"""Compares two ranks of one thread with one rank of one thread, with the same work per rank, in turns and both by
mpirun.

    build/venv/bin/python tests/bench/ranks_bench.py [--programs build/release/bench]

Efficiency is the step's time alone divided by its time with two ranks, with gradients summed in parallel to the
backward pass or after it; both must train with the same losses. A busy machine may have no second core available, so
the same is also measured with two ranks that do not communicate (two gangs of one at a time): this separates the loss
to the machine from the loss to communication. Last, with two micro-batches a step, the steps of `shard: gradients` and of
`shard: all` are compared with those of `shard: optimizer`: losses must agree to 1e-6."""

import argparse
import concurrent.futures
import pathlib
import statistics
import tempfile

import training_cases

MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-mca", "plm", "isolated", "-mca",
          "btl", "^openib"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=training_cases.ROOT / "build/release/bench")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--sequences", type=int, default=8, help="sequences of one rank")
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


class Bench:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        for ranks in (1, arguments.ranks):
            training_cases.write_batch(self.batch(ranks), arguments.sequences * ranks, 256,
                                       training_cases.vocabulary_of(training_cases.SMALL_MODEL))

    def batch(self, ranks):
        return self.folder / f"batch-{ranks}.jsonl"

    def run(self, ranks, number=0, overlap=True, **more):
        options = {"overlap": str(overlap).lower(), "model": training_cases.SMALL_MODEL, "data": self.batch(ranks),
                   "dtype": self.arguments.dtype, "sequences-per-rank": self.arguments.sequences,
                   "steps": self.arguments.steps, **more}
        return training_cases.run_product(self.arguments.programs / "train_steps",
                                          self.folder / f"curves-{number}.jsonl", 1, options,
                                          [*MPIRUN, "-np", str(ranks)])

    def run_apart(self):
        """Runs as many gangs of one rank at the same time."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            gangs = list(pool.map(lambda number: self.run(1, number), range(self.arguments.ranks)))
        return [step for gang in gangs for step in gang[1:]]


def check_losses(gang, late_gang):
    for one, other in zip(gang, late_gang):
        if one["loss"] != other["loss"]:
            raise SystemExit(f"step {one['step']}: loss {one['loss']} with overlap, {other['loss']} without")


def compare_sharding(bench, arguments):
    """Prints the time of a step of two micro-batches with each kind of sharding, as a multiple of that with the least:
    `gradients` and `all`, and `all` where both sides recompute blocks."""
    kinds = (("gradients", "none"), ("all", "none"), ("all", "full"))
    ratios, micro = {kind: [] for kind in kinds}, {"micro-batch": arguments.sequences // 2}

    def run(shard, recompute):
        return bench.run(arguments.ranks, overlap=False, shard=shard, recompute=recompute, **micro)

    for _ in range(arguments.turns):
        least = {recompute: run("optimizer", recompute) for recompute in ("none", "full")}
        for shard, recompute in kinds:
            more = run(shard, recompute)
            for one, other in zip(least[recompute], more):
                if abs(one["loss"] - other["loss"]) > 1e-6 * one["loss"]:
                    raise SystemExit(f"step {one['step']}: loss {one['loss']}, but {other['loss']} with shard: {shard}")
            ratios[shard, recompute].append(statistics.median(training_cases.step_seconds(more)) /
                                            statistics.median(training_cases.step_seconds(least[recompute])))
    for (shard, recompute), found in ratios.items():
        beside = " with recompute: block" if recompute == "full" else ""
        print(f"shard: {shard} takes {statistics.median(found):.3f} of the time of shard: optimizer{beside} "
              f"(turns: {', '.join(f'{ratio:.3f}' for ratio in found)})")


def main():
    arguments = parse_arguments()
    print(f"{training_cases.machine()}; 1 thread a rank, {arguments.dtype}, {arguments.sequences} x 256 tokens a rank")
    alone, apart, together, waits, efficiencies, shares = [], [], [], [], [], []
    behind, behind_waits, behind_efficiencies = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, pathlib.Path(folder))
        for _ in range(arguments.turns):
            one = training_cases.step_seconds(bench.run(1))
            separate = [step["step_seconds"] for step in bench.run_apart()]
            gang, late_gang = bench.run(arguments.ranks), bench.run(arguments.ranks, overlap=False)
            check_losses(gang, late_gang)
            late = training_cases.step_seconds(late_gang)
            behind += late
            behind_waits += [step["collective_seconds"] for step in late_gang[1:]]
            behind_efficiencies.append(statistics.median(one) / statistics.median(late))
            many = training_cases.step_seconds(gang)
            alone += one
            apart += separate
            together += many
            waits += [step["collective_seconds"] for step in gang[1:]]
            efficiencies.append(statistics.median(one) / statistics.median(many))
            shares.append(statistics.median(separate) / statistics.median(many))
        compare_sharding(bench, arguments)
    print(f"one rank                     {training_cases.spread(alone)}")
    print(f"{arguments.ranks} ranks without communication {training_cases.spread(apart)}")
    print(f"{arguments.ranks} ranks together              {training_cases.spread(together)}, "
          f"of which waiting for collectives {statistics.median(waits):.3f} s")
    print(f"  without overlap            {training_cases.spread(behind)}, "
          f"of which waiting for collectives {statistics.median(behind_waits):.3f} s")
    print(f"efficiency {statistics.median(efficiencies):.3f} "
          f"(turns: {', '.join(f'{e:.3f}' for e in efficiencies)}); of it the machine "
          f"{statistics.median(alone) / statistics.median(apart):.3f}, communication {statistics.median(shares):.3f}")
    print(f"efficiency without overlap {statistics.median(behind_efficiencies):.3f} "
          f"(turns: {', '.join(f'{e:.3f}' for e in behind_efficiencies)})")


if __name__ == "__main__":
    main()
