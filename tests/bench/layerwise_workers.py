"""Compares the time of a job's layerwise stage on one worker and on two, each with one thread, in turns.

    python3 tests/bench/layerwise_workers.py [--rounds 3] [--sequences 600] [--model FOLDER --texts FOLDER]

Needs two free cores. Prints the seconds of each round, the ratio of the medians, and whether the weights are the same."""

import argparse
import datetime
import hashlib
import json
import pathlib
import statistics
import sys
import tempfile

import trained_model

sys.path.insert(0, str(trained_model.ROOT / "tests/integration"))
from harness import cluster  # noqa: E402  (the path must be set first)


def folder(path):
    return pathlib.Path(path).resolve()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=folder, default=trained_model.MODEL)
    parser.add_argument("--texts", type=folder, default=trained_model.TEXTS, help="train.jsonl")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=600)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def job(arguments, output):
    text = {"data": str(arguments.texts / "train.jsonl"), "sequence_length": arguments.sequence_length}
    return {"name": "workers", "source": {"checkpoint": str(arguments.model)}, "target": {"kv_heads": arguments.kv_heads},
            "calibration": {**text, "sequences": 32}, "alignment": {"method": "principal"},
            "layerwise": {**text, "method": "distill", "sequences": arguments.sequences}, "finetune": {"method": "none"},
            "output": {"checkpoint": str(output)}}


def run(arguments, workers):
    """Returns the seconds of the layerwise stage, from its first task's start to its last one's end, and the digest of
    the result."""
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        programs = cluster.Cluster(place, workers=workers, slots=1, worker_arguments=("--workers-on-machine", "2"))
        try:
            file = place / "job.yaml"
            file.write_text(json.dumps(job(arguments, place / "result")))
            done = programs.wait_for_end(programs.submit(file), patience_s=3600)
            if done["state"] != "JOB_STATE_SUCCEEDED":
                raise SystemExit(f"the job ended as {done['state']}: {done.get('failure')}")
            report = json.loads((place / "result/regroup/report.json").read_text())
            [seconds] = [stage["seconds"] for stage in report["stages"] if stage["name"] == "layerwise"]
            tasks = [task for task in done["tasks"] if "/layerwise-" in task["name"]]
            first = min(time_of(task["start_time"]) for task in tasks)
            last = max(time_of(task["end_time"]) for task in tasks)
            digest = hashlib.sha256((place / "result/model.safetensors").read_bytes()).hexdigest()
            print(f"{workers} worker(s): {last - first:.1f} s, all tasks together {seconds:.1f} s", flush=True)
            return last - first, digest
        finally:
            programs.stop()


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def main():
    arguments = parse_arguments()
    found = {1: [], 2: []}
    for _ in range(arguments.rounds):
        for workers in (1, 2):
            found[workers].append(run(arguments, workers))
    seconds = {workers: statistics.median(second for second, _ in found[workers]) for workers in found}
    digests = {digest for runs in found.values() for _, digest in runs}
    print(f"two workers take {seconds[2] / seconds[1]:.2f} of the time of one; the weights are "
          f"{'the same' if len(digests) == 1 else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
