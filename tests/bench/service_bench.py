#!/usr/bin/env python3
"""Measures the coordinator's capacity, over mutual TLS with tokens on loopback, compared with a bare gRPC echo of the
same messages.

    tests/bench/service_bench.py [--short] [PART ...]

Parts: submit, watch, restart, heartbeats; all by default. Needs build/release/bin and build/release/tests.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import loaded, processes  # noqa: E402


class Bench:
    def __init__(self, folder, settings):
        self.folder, self.settings, self.rows = folder, settings, []

    def row(self, what, figure, asked=""):
        self.rows.append((what, figure, asked))
        print(f"  {what}: {figure}", flush=True)

    def coordinator(self, name, **settings):
        folder = self.folder / name
        folder.mkdir()
        return loaded.LoadedCoordinator(folder, lease_s=30, **settings)

    def submit(self):
        """Sends durable submissions in an open loop, then kill -9, and checks that every acknowledged one is still
        there."""
        rate, seconds = self.settings.rate, self.settings.seconds
        coordinator = self.coordinator("submit", arguments=("--max-unfinished-jobs", 1000000))
        coordinator.start()
        loads = ("--per-second", rate, "--seconds", seconds)
        echo, port = self.start_echo(coordinator)
        echoed = coordinator.load("echo", *loads, coordinator=f"localhost:{port}")
        echo.kill()
        echo.wait()
        cpu, begin = coordinator.cpu_seconds(), time.monotonic()
        answered = coordinator.load("submit", *loads, "--names", coordinator.folder / "acknowledged")
        cores = (coordinator.cpu_seconds() - cpu) / (time.monotonic() - begin)
        coordinator.kill()
        ready = coordinator.start()
        coordinator.load("names", "--names", coordinator.folder / "listed")
        lost = lines(coordinator.folder / "acknowledged") - lines(coordinator.folder / "listed")
        coordinator.stop()
        self.row(f"echo, {rate}/s for {seconds} s", latency(echoed))
        self.row(f"SubmitJob, {rate}/s for {seconds} s", latency(answered), "p99 < 100 ms")
        self.row("coordinator meanwhile", f"{cores:.2f} cores")
        self.row("acknowledged, lost after kill -9", f"{answered['answered']}, {len(lost)}", "0 lost")
        self.row(f"ready after that kill with {answered['answered']} waiting", f"{ready:.2f} s")

    def watch(self):
        """Runs watchers, some of which do not read: measures memory and checks that the others see everything."""
        coordinator = self.coordinator("watch")
        coordinator.start()
        before, peak, done = coordinator.memory_mb(), [0.0], threading.Event()

        def sample():
            while not done.wait(0.2):
                peak[0] = max(peak[0], coordinator.memory_mb())

        sampler = threading.Thread(target=sample)
        sampler.start()
        seen = coordinator.load("watch", "--watchers", self.settings.watchers, "--silent", self.settings.silent,
                                "--seconds", self.settings.seconds)
        done.set()
        sampler.join()
        coordinator.stop()
        self.row(f"{self.settings.watchers} watchers, {seen['silent']} silent: complete readers",
                 f"{seen['complete']} of {seen['readers']} {seen['first_fault']}", "all")
        self.row("changes and progress read", f"{seen['events']}, {seen['progress']}")
        self.row("coordinator's memory before, at most", f"{before:.0f} MB, {peak[0]:.0f} MB", "bounded")

    def restart(self):
        """Fills a store with many jobs: measures the time until ready after kill -9, and the list's pages."""
        finished, waiting = self.settings.finished, self.settings.waiting
        coordinator = self.coordinator("restart")
        subprocess.run([loaded.LOAD_PROGRAMS / "regroup_fill_store", "--state-dir", coordinator.state, "--finished",
                        str(finished), "--waiting", str(waiting)], check=True)
        coordinator.start()
        coordinator.load("list", "--pages", 1)
        coordinator.kill()
        ready = coordinator.start()
        coordinator.load("list", "--pages", 1)
        self.row(f"{finished} finished and {waiting} waiting jobs: ready after kill -9", f"{ready:.2f} s", "5 s")
        # The newest pages hold waiting jobs; then follow the whole list and the rare state.
        for what, arguments in (("pages of 50, the newest", ("--pages", 100)),
                                ("pages of 1000, all", ("--pages", (finished + waiting) // 1000, "--page-size", 1000)),
                                ("pages of 50 of FAILED, a state of no job", ("--pages", 20, "--state", 6))):
            self.row(f"list, {what}", latency(coordinator.load("list", *arguments)), "p99 < 200 ms")
        cpu = coordinator.cpu_seconds()
        time.sleep(5)
        self.row("idle with these jobs", f"{(coordinator.cpu_seconds() - cpu) / 5:.2f} cores")
        self.row("memory with these jobs", f"{coordinator.memory_mb():.0f} MB")
        coordinator.stop()

    def heartbeats(self):
        """Runs idle workers, each with one heartbeat per second and a call that waits for a task."""
        workers = self.settings.workers
        coordinator = self.coordinator("heartbeats")
        coordinator.start()
        load = coordinator.start_load("heartbeats", "--workers", workers, "--seconds", self.settings.beats_seconds + 5)
        time.sleep(5)
        cpu, begin = coordinator.cpu_seconds(), time.monotonic()
        time.sleep(self.settings.beats_seconds - 1)
        cores = (coordinator.cpu_seconds() - cpu) / (time.monotonic() - begin)
        answered = loaded.result_of(load)
        coordinator.stop()
        self.row(f"{workers} workers at 1 Hz for {self.settings.beats_seconds} s", f"{cores:.2f} cores", "< 1")
        self.row("their heartbeats", latency(answered))

    def start_echo(self, coordinator):
        port_file = coordinator.folder / "echo-port"
        tls = ["--tls-certificate", coordinator.keys / "coordinator.pem", "--tls-key", coordinator.keys / "coordinator.key",
               "--tls-authority", coordinator.keys / "authority.pem"]
        echo = processes.start([loaded.LOAD, *tls, "echo-server", "--listen", "127.0.0.1:0", "--port-file", port_file])
        processes.wait_until(port_file.exists, "the echo server", 30)
        return echo, int(port_file.read_text())


def latency(report):
    text = f"p50 {report['p50_ms']:.1f} ms, p99 {report['p99_ms']:.1f} ms, longest {report['max_ms']:.0f} ms"
    return text if report["failed"] == 0 else f"{text}, {report['failed']} FAILED: {report['first_failure']}"


def lines(file):
    return set(file.read_text().splitlines())


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="submit, watch, restart, heartbeats")
    parser.add_argument("--short", action="store_true", help="use a tenth of the time and of the jobs")
    parser.add_argument("--rate", type=int, default=500, help="submissions a second")
    parser.add_argument("--seconds", type=int, default=60, help="seconds of submitting and watching")
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--silent", type=int, default=10, help="watchers that do not read")
    parser.add_argument("--finished", type=int, default=100000)
    parser.add_argument("--waiting", type=int, default=10000)
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--beats-seconds", type=int, default=600)
    settings = parser.parse_args()
    if settings.short:
        settings.seconds, settings.beats_seconds = 6, 20
        settings.finished, settings.waiting = 10000, 1000
    return settings


def main():
    settings = parse()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-bench-"))
    bench = Bench(folder, settings)
    try:
        for part in settings.parts or ("submit", "watch", "restart", "heartbeats"):
            print(part, flush=True)
            getattr(bench, part)()
    finally:
        processes.kill_all_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
    print("\n| measured | figure | target |\n|---|---|---|")
    for row in bench.rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
