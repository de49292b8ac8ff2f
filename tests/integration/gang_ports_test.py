#!/usr/bin/env python3
"""Tests what a gang of real ranks opens: on one worker nothing that another machine reaches, and shared memory between
the ranks of each worker of a spread gang."""

import ipaddress
import os
import pathlib
import signal
import unittest

from harness import cluster, job_file, nodes, processes
from harness.program_test import ProgramTest
from harness.spread_gang import SpreadGangTest

# States of /proc/net/tcp; a UDP socket that only receives is in state 07.
_WAITING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


def address_of(text):
    """Returns the address of an entry such as 0100007F:1F90, whose words are in the order of this machine."""
    host = bytes.fromhex(text.partition(":")[0])
    words = [host[start:start + 4][::-1] for start in range(0, len(host), 4)]
    return ipaddress.ip_address(b"".join(words))


def sockets_of(pid):
    links = []
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(link))
        except OSError:
            pass
    return {link[len("socket:["):-1] for link in links if link.startswith("socket:[")}


def listening(pid):
    """Returns the addresses on which the process takes connections or datagrams."""
    own = sockets_of(pid)
    found = set()
    for protocol, state in _WAITING.items():
        for line in pathlib.Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in own:
                found.add(address_of(fields[1]))
    return found


class OneMachine(ProgramTest):
    def endless_job(self):
        return self.write_job(job_file.small_job(self.output, finetune={"steps": 100000}))

    def gang(self, work):
        """Waits until the ranks train, and returns mpirun and the ranks."""
        manifests = "jobs/*/finetune/*/checkpoints/step-00000004/manifest.json"
        processes.wait_until(lambda: list(work.glob(manifests)), "the checkpoint of step 4", 120)
        found = [process for process in processes.processes_of(work)
                 if process.program == "mpirun" or "--attempt" in process.arguments]
        self.assertEqual(sorted(process.program for process in found), ["mpirun", "regroup-trainer", "regroup-trainer"])
        return found

    def assert_on_loopback(self, gang):
        opened = {process.program: listening(process.pid) for process in gang}
        self.assertTrue(opened["mpirun"], "mpirun listens somewhere, or this test sees nothing")
        for program, addresses in opened.items():
            self.assertEqual([str(address) for address in addresses if not address.is_loopback], [], program)

    def test_opens_nothing_to_the_network_under_regroup_run(self):
        work = self.folder / "work"
        run = cluster.start_run(self.endless_job(), work, self.folder / "run.log", "--slots", "2")
        self.addCleanup(run.wait)
        self.addCleanup(run.send_signal, signal.SIGTERM)
        self.assert_on_loopback(self.gang(work))

    def test_opens_nothing_to_the_network_on_a_worker_with_an_interface_for_spread_gangs(self):
        served = cluster.Cluster(self.folder, workers=1, slots=2,
                                 worker_arguments=("--gang-listen", "127.0.0.1:0", "--gang-interface", "127.0.0.0/8"))
        self.addCleanup(served.stop)
        served.submit(self.endless_job())
        self.assert_on_loopback(self.gang(served.work))


@unittest.skipIf(nodes.why_not(), nodes.why_not())
class TwoWorkers(SpreadGangTest):
    task_id = "finetune"

    def test_the_ranks_of_each_worker_share_memory(self):
        two = nodes.Nodes(2)
        self.addCleanup(two.remove)
        self.cluster = nodes.NodeCluster(self.folder, two, slots=2)
        self.addCleanup(self.cluster.stop)
        job = self.cluster.submit(self.write_job(job_file.small_job(self.output, finetune={"steps": 100000, "ranks": 4, "batch_sequences": 4})))
        out = self.cluster.work / "jobs" / job / "finetune/1/checkpoints/step-00000004/manifest.json"
        processes.wait_until(out.exists, "the checkpoint of step 4", 240)
        _, helper = self.lead_and_helper(job)
        shared = {}
        for rank in self.wait_for_ranks():
            worker = next(worker for worker in self.shares(job)
                          if f"REGROUP_WORKER={worker}@".encode() in pathlib.Path(f"/proc/{rank.pid}/environ").read_bytes())
            maps = pathlib.Path(f"/proc/{rank.pid}/maps").read_text()
            segments = {line.split()[5] for line in maps.splitlines() if "vader_segment" in line}
            shared.setdefault(worker, []).append(segments)
        for worker, (one, other) in shared.items():
            self.assertTrue(one & other, f"the ranks on {worker} share no segment: {shared}, helper {helper}")
        own = {pathlib.Path(segment).parent.name for segments in shared[helper] for segment in segments}
        self.assertTrue(all(name.startswith("regroup-") for name in own), f"the helper's folder of its own: {own}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
