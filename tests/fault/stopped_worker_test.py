#!/usr/bin/env python3
"""Stops a worker with SIGSTOP for good: its ranks, which keep running, exit by themselves when the last lease that it
passed on ends, before another worker starts them again; the result is the same, bit for bit.
"""

import signal
import unittest

from harness import cluster, job_file, processes
from harness.program_test import ProgramTest, digest_of

# The lease is shorter than the time for which a rank would otherwise wait for an answer.
_LEASE_S = 5
# The training takes longer than the lease, so that the ranks are in its middle when the lease ends.
_STEPS = 120


class StoppedWorker(ProgramTest):
    def convert(self, name, disturb=lambda job: None):
        """Converts and returns (digest of the weights, the job)."""
        self.output = self.results / name
        job = self.cluster.submit(self.write_job(job_file.small_job(self.output, finetune={"steps": _STEPS})))
        disturb(job)
        done = self.cluster.wait_for_end(job, 300)
        self.assert_succeeded(done)
        return digest_of(self.output / "model.safetensors"), done

    def stop_the_worker(self, job):
        with self.cluster.held_at_checkpoint(job, 4) as ranks:
            # On a very busy machine a lease may have ended before.
            self.epoch = cluster.epochs(self.cluster.job(job))["finetune"]
            self.stopped = next(worker for worker in self.cluster.workers.values()
                                if worker.pid in cluster.ancestors_of(ranks[0]))
            self.stopped.send_signal(signal.SIGSTOP)
        self.addCleanup(self.stopped.send_signal, signal.SIGCONT)
        old, following = f"REGROUP_ATTEMPT={job}/finetune/{self.epoch}", f"finetune/{self.epoch + 1}"
        processes.wait_until(lambda: processes.trainers_of(self.folder, following), "the next attempt", 60)
        self.assertEqual([process for process in processes.processes_with(old) if process.program == "regroup-trainer"],
                         [], "a rank outlived the lease of its worker")

    def test_leaves_no_rank_behind(self):
        self.cluster = self.start_cluster(workers=2, lease_s=_LEASE_S)
        undisturbed, _ = self.convert("undisturbed")
        digest, job = self.convert("disturbed", self.stop_the_worker)
        self.assertEqual(digest, undisturbed)
        self.assertGreater(cluster.epochs(job)["finetune"], self.epoch)
        self.stopped.send_signal(signal.SIGCONT)
        self.assert_no_process_of("", patience_s=10)
        self.cluster.stop()
        self.assert_nothing_left(10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
