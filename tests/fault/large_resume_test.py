#!/usr/bin/env python3
"""Kills a rank of a training whose state is large and lets it go on from its checkpoint, under a watchdog of a few seconds:
the attempt is not taken for hung, and needs no more memory than the one before.

REGROUP_TEST_LAYERS sets the size: each layer has 12.6 million parameters, 150 MB of state.
"""

import json
import os
import pathlib
import shutil
import signal
import threading
import time
import unittest

import torch
import transformers
from harness import cluster, job_file, places, processes
from harness.program_test import ProgramTest

LAYERS = int(os.environ.get("REGROUP_TEST_LAYERS", "2"))
WATCHDOG_S = 5
# In bfloat16, so that most of the memory is the state: a float32 master copy and two moments.
MODEL = {"hidden_size": 1024, "intermediate_size": 2800, "num_attention_heads": 16, "num_key_value_heads": 16,
         "max_position_embeddings": 256, "tie_word_embeddings": True}


class Memory(threading.Thread):
    """Looks at the anonymous memory of the ranks of fine-tuning, by attempt, until it is stopped."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.peaks, self.stopping = work, {}, threading.Event()

    def run(self):
        while not self.stopping.wait(0.02):
            for rank in processes.trainers_of(self.work, "finetune/"):
                self.look_at(rank)

    def look_at(self, rank):
        try:
            status = pathlib.Path(f"/proc/{rank.pid}/status").read_text()
        except OSError:
            return
        held = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:")), 0)
        epoch = int(rank.attempt_folder.name)
        self.peaks[epoch] = max(self.peaks.get(epoch, 0), held)


class LargeResumeTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.cluster = self.start_cluster(workers=1, coordinator_arguments=["--watchdog-s", WATCHDOG_S])

    def make_model(self):
        source = self.folder / "source"
        vocabulary = json.loads((places.MODEL / "config.json").read_text())["vocab_size"]
        config = transformers.LlamaConfig(**MODEL, vocab_size=vocabulary, num_hidden_layers=LAYERS)
        torch.manual_seed(1)
        transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(source)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(places.MODEL / name, source / name)
        return source

    def test_goes_on_from_its_checkpoint(self):
        job = self.cluster.submit(self.write_job(job_file.small_job(
            self.output, source={"checkpoint": str(self.make_model())}, target={"kv_heads": 8},
            alignment={"method": "none"},
            finetune={"method": "direct", "steps": 6, "checkpoint_every_steps": 2, "precision": "bfloat16"})))
        memory = Memory(self.cluster.work)
        memory.start()
        with self.cluster.held_at_checkpoint(job, 2) as ranks:
            [manifest] = self.cluster.wait_for_checkpoint(job, 2)
            state = sum(file["bytes"] for file in json.loads(manifest.read_text())["files"])
            processes.signal_if_alive(ranks[0].pid, signal.SIGKILL)
        killed = time.monotonic()
        processes.wait_until(lambda: any(step > 2 and epoch == 2 for epoch, step, _ in self.cluster.metric(job, "loss")),
                             "the first step of the second attempt", 900, 0.2)
        seconds = time.monotonic() - killed
        done = self.cluster.wait_for_end(job, 900)
        memory.stopping.set()
        memory.join()
        self.assert_succeeded(done)
        self.assertEqual(cluster.epochs(done)["finetune"], 2)
        first, second = memory.peaks[1], memory.peaks[2]
        print(f"{state / 1e9:.2f} GB of state; {seconds:.0f} s from the kill to the next step, watchdog {WATCHDOG_S} s; a rank "
              f"held {first / 1e9:.2f} GB at most, {second / 1e9:.2f} GB after it was resumed")
        self.assertLess(second, 1.1 * first)


if __name__ == "__main__":
    unittest.main(verbosity=2)
