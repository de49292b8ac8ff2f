"""A coordinator and workers on loopback, each of which a test can kill and start again."""

import contextlib
import json
import os
import signal
import subprocess

from harness import places, processes

FINAL_STATES = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def run_regroup(*arguments, coordinator=None, patience_s=300, prefix=(), environment=None, **settings):
    """Runs `regroup` with these arguments to its end; its output is text. `prefix` is put before the command."""
    environment = {**os.environ, **(environment or {}), **({"REGROUP_COORDINATOR": coordinator} if coordinator else {})}
    command = [*prefix, str(places.PROGRAMS / "regroup"), *map(str, arguments)]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=patience_s, **settings)


def start_run(file, work, log, *arguments):
    """Starts `regroup run` in the background, with its output in the file `log`."""
    with open(log, "ab") as output:
        return processes.start([places.PROGRAMS / "regroup", "run", file, "--work-dir", work, *arguments],
                               stdout=output, stderr=output)


class Cluster:
    """Programs started for one test; `work` and the logs lie under `folder`."""

    def __init__(self, folder, workers=2, slots=2, lease_s=5, trainer=None, device="cpu",
                 worker_arguments=(), coordinator_arguments=()):
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self.coordinator = None
        self.workers = {}
        self._slots, self._lease_s, self._trainer, self._device = slots, lease_s, trainer, device
        self._worker_arguments, self._coordinator_arguments = worker_arguments, coordinator_arguments
        self._port = 0
        self.metrics_port = 0
        self.start_coordinator()
        for index in range(workers):
            self.start_worker(f"worker-{index + 1}")

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    def start_coordinator(self):
        """Starts the coordinator, the first time on free ports, later on the same ports."""
        port_file, metrics_file = self.folder / "port", self.folder / "metrics-port"
        port_file.unlink(missing_ok=True)
        self.coordinator = self._start("coordinator", "regroup-coordinator", "--work-dir", self.work, "--listen",
                                       self.address, "--metrics-listen", f"127.0.0.1:{self.metrics_port}",
                                       "--port-file", port_file, "--metrics-port-file", metrics_file,
                                       "--lease-s", self._lease_s, "--heartbeat-s", 1,
                                       *self._coordinator_arguments)
        self._port = self._read_port(port_file, self.coordinator, "coordinator")
        self.metrics_port = self._read_port(metrics_file, self.coordinator, "coordinator")

    def start_worker(self, name):
        arguments = ["--coordinator", self.address, "--work-dir", self.work, "--id", name, "--slots", self._slots,
                     "--device", self._device]
        if self._trainer:
            arguments += ["--trainer", self._trainer]
        arguments += self._worker_arguments
        self.workers[name] = self._start(name, "regroup-worker", *arguments)

    def coordinators(self):
        return [self.coordinator]

    def prefix(self):
        """Returns the words that stand before a command to run it where users are."""
        return []

    def environment(self):
        """Returns the variables that `regroup` needs in its environment."""
        return {"REGROUP_COORDINATOR": self.address}

    def kill_coordinator(self):
        processes.kill_now(self.coordinator)

    def kill_worker_of(self, trainer):
        """Kills the worker of a trainer with kill -9. Returns the worker's name."""
        name = next(name for name, worker in self.workers.items() if worker.pid in ancestors_of(trainer))
        processes.kill_now(self.workers[name])
        return name

    def stop(self):
        """Stops the programs as an administrator would: SIGTERM, workers first."""
        for programs in (self.workers.values(), self.coordinators()):
            running = [process for process in programs if process and process.poll() is None]
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(timeout=120)

    def regroup(self, *arguments, **settings):
        return run_regroup(*arguments, prefix=self.prefix(), environment=self.environment(), **settings)

    def json_of(self, *arguments):
        done = self.regroup(*arguments, "--json")
        if done.returncode != 0:
            raise AssertionError(f"regroup {' '.join(map(str, arguments))}: status {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)

    def submit(self, job_file):
        return self.json_of("submit", job_file)["name"].removeprefix("jobs/")

    def job(self, name):
        return self.json_of("get", name)

    def metric(self, job, metric):
        """Returns the points of one fine-tuning metric as (epoch, step, value), in order of arrival."""
        done = self.regroup("metrics", job, "--metric", metric, "--json")
        points = [json.loads(line) for line in done.stdout.splitlines()]
        return [(int(point["epoch"]), int(point["step"]), point["value"]) for point in points]

    def wait_for_end(self, name, patience_s=300):
        """Returns the job once it is in a final state."""
        return processes.wait_until(lambda: self._final(name), f"the end of {name}", patience_s, pause_s=0.2)

    def wait_for_trainers(self, task, count=1):
        """Returns `count` ranks that run attempts of the task, once there are so many."""
        def find():
            found = processes.trainers_of(self.work, task)
            return found if len(found) >= count else None
        return processes.wait_until(find, f"{count} processes of {task}", pause_s=0.002)

    def wait_for_checkpoint(self, job, step):
        manifests = f"jobs/{job}/finetune/*/checkpoints/step-{step:08d}/manifest.json"
        return processes.wait_until(lambda: list(self.work.glob(manifests)), f"the checkpoint of step {step}")

    @contextlib.contextmanager
    def held_at_checkpoint(self, job, step, ranks=2):
        """Stops the ranks of finetune after this checkpoint while the block runs, so that the training, which takes a
        second or two, cannot end before the test disturbs it. Yields the ranks; those still alive go on afterwards.
        """
        self.wait_for_checkpoint(job, step)
        held = processes.trainers_of(self.work, "finetune/")
        for rank in held:
            processes.signal_if_alive(rank.pid, signal.SIGSTOP)
        try:
            if len(held) != ranks:
                raise AssertionError(f"{len(held)} of {ranks} ranks were left to stop after step {step}: "
                                     "finetune has too few steps for this test")
            yield held
        finally:
            for rank in held:
                processes.signal_if_alive(rank.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def held_after(self, job, task):
        """Runs the block after the task and before any later one: the only worker takes no task meanwhile."""
        [trainer] = self.wait_for_trainers(f"{task}/", 1)
        processes.signal_if_alive(trainer.pid, signal.SIGSTOP)
        [worker] = self.workers
        self.regroup("drain", worker, check=True)
        processes.signal_if_alive(trainer.pid, signal.SIGCONT)
        processes.wait_until(lambda: task in finished_tasks(self.job(job)), f"the end of {task}", pause_s=0.1)
        yield
        self.regroup("undrain", worker, check=True)

    def _final(self, name):
        job = self.job(name)
        return job if job["state"] in FINAL_STATES else None

    def _start(self, name, program, *arguments):
        with open(self.folder / f"{name}.log", "ab") as log:
            return processes.start([places.PROGRAMS / program, *arguments], stdout=log, stderr=log)

    def _read_port(self, file, process, name):
        def read():
            if process.poll() is not None:
                raise AssertionError(f"the {name} ended: " + (self.folder / f"{name}.log").read_text()[-2000:])
            return file.exists() and int(file.read_text() or 0)
        return processes.wait_until(read, "the coordinator's port", patience_s=120)


def ancestors_of(process):
    """Returns the process ids of a process's ancestors, from its parent upwards."""
    found = []
    parent = process.parent
    while parent > 1:
        found.append(parent)
        with open(f"/proc/{parent}/stat") as stat:
            parent = int(stat.read().rpartition(") ")[2].split()[1])
    return found


def job_at_end(done):
    """Returns the job that `regroup run --json` prints at its end, after one line per event."""
    start = done.stdout.rindex("\n{\n") + 1 if not done.stdout.startswith("{\n") else 0
    return json.loads(done.stdout[start:])


def epochs(job):
    """Returns the epoch of every task's last attempt."""
    return {task["name"].split("/")[-1]: int(task.get("epoch", 0)) for task in job["tasks"]}


def finished_tasks(job):
    return {task["name"].split("/")[-1] for task in job["tasks"] if task["state"] == "TASK_STATE_SUCCEEDED"}
