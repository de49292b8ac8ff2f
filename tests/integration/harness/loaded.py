"""A coordinator with mutual TLS and tokens on loopback, and the load programs that talk to it."""

import json
import os
import pathlib
import subprocess
import sys
import time

from harness import places, processes

LOAD_PROGRAMS = pathlib.Path(os.environ.get("REGROUP_TEST_PROGRAMS", places.REPOSITORY / "build/release/tests"))
LOAD = LOAD_PROGRAMS / "regroup_load"
COORDINATOR = places.PROGRAMS / "regroup-coordinator"


class LoadedCoordinator:
    """A coordinator that can be killed and restarted. Its logs and ports are in `folder`, by default with its `keys`
    and its store, `state`."""

    def __init__(self, folder, state=None, keys=None, arguments=(), lease_s=3):
        self.folder = folder
        self.keys = keys or folder / "keys"
        self.state = state or folder / "state"
        self.process = None
        self._arguments, self._lease_s, self._port = arguments, lease_s, 0
        if not self.keys.exists():
            self._make_keys()

    @property
    def address(self):
        return f"localhost:{self._port}"

    @property
    def pid(self):
        return self.process.pid

    def start(self, *arguments, patience_s=60, environment=None):
        """Starts the coordinator on its previous port. Returns the seconds until it serves."""
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        command = [COORDINATOR, "--state-dir", self.state, "--listen", f"127.0.0.1:{self._port}", "--metrics-listen", "",
                   "--port-file", port_file, "--lease-s", self._lease_s, "--heartbeat-s", 1, *self._server_tls(),
                   # One user stands for many.
                   "--max-unfinished-jobs-per-caller", 1_000_000, "--max-streams-per-caller", 1000,
                   "--tokens", self.keys / "tokens", *self._arguments, *arguments]
        begin = time.monotonic()
        with open(self.folder / "coordinator.log", "ab") as log:
            self.process = processes.start(command, stdout=log, stderr=log, env={**os.environ, **(environment or {})})
        # A coordinator that a test ends at a chosen write may end before it serves.
        processes.wait_until(lambda: port_file.exists() or self.process.poll() is not None, "the coordinator", patience_s,
                             pause_s=0.005)
        if port_file.exists():
            self._port = int(port_file.read_text())
        return time.monotonic() - begin

    def kill(self):
        processes.kill_now(self.process)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def load_command(self, command, *arguments, coordinator=None):
        return [str(word) for word in (LOAD, "--coordinator", coordinator or self.address, "--token-file",
                                       self.keys / "user.token", "--worker-token-file", self.keys / "worker.token",
                                       *self.client_tls(), command, *arguments)]

    def load(self, command, *arguments, patience_s=600, **settings):
        """Runs a load program to its end, and returns its report."""
        done = subprocess.run(self.load_command(command, *arguments, **settings), stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=patience_s)
        if done.returncode != 0:
            raise AssertionError(f"regroup_load {command}: {done.stderr}")
        return json.loads(done.stdout)

    def start_load(self, command, *arguments):
        return processes.start(self.load_command(command, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)

    def wait_for_submission(self):
        """Waits until one more job is accepted, so that the following fault hits a busy coordinator."""
        with open(self.folder / "coordinator.log", "rb") as log:
            log.seek(0, os.SEEK_END)
            # A line that is being written is read in two parts, so what was read is kept.
            lines = bytearray()

            def has_one():
                lines.extend(log.read())
                return b'"job accepted"' in lines

            # Callers find a coordinator that was started again long before the workers' usual lease of 10 s is over.
            processes.wait_until(has_one, "a submission", 20, pause_s=0.02)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self):
        """Returns the current resident memory."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def client_tls(self):
        return ["--tls-certificate", self.keys / "client.pem", "--tls-key", self.keys / "client.key",
                "--tls-authority", self.keys / "authority.pem"]

    def _server_tls(self):
        return ["--tls-certificate", self.keys / "coordinator.pem", "--tls-key", self.keys / "coordinator.key",
                "--tls-authority", self.keys / "authority.pem"]

    def _make_keys(self):
        _run("init", "--dir", self.keys, "--host", "localhost")
        for name, *role in (("user", "--role", "admin"), ("worker", "--role", "worker", "--worker-prefix", "load-")):
            token = _run("token", "add", name, *role, "--tokens", self.keys / "tokens")
            (self.keys / f"{name}.token").write_text(token)


def faulty_disk(**settings):
    """Returns the environment of a coordinator on a disk with faults; see tests/load/faulty_disk.cc."""
    return {"LD_PRELOAD": str(LOAD_PROGRAMS / "libregroup_faulty_disk.so"),
            **{name: str(value) for name, value in settings.items()}}


def skip_without_load_programs():
    if not LOAD.exists():
        print(f"SKIPPED: {LOAD} is not built", file=sys.stderr)
        sys.exit(77)


def result_of(load, patience_s=1800):
    """Waits for a load that start_load began, and returns its report."""
    output, errors = load.communicate(timeout=patience_s)
    if load.returncode != 0:
        raise AssertionError(f"regroup_load: {errors}")
    return json.loads(output)


def _run(*arguments):
    return subprocess.run([str(word) for word in (COORDINATOR, *arguments)], check=True, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True).stdout
