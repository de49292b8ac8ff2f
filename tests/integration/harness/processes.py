"""Finds the processes of one test by the folder that all of them name, and starts new ones that cannot outlive it."""

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def wait_until(condition, what, patience_s=300, pause_s=0.01):
    """Returns the first true value of condition(); fails the test if there is none in time."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s} s in vain for {what}")
        time.sleep(pause_s)


def _die_with_the_test():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(arguments, **settings):
    """Starts a process that the kernel kills when the test dies, even by SIGKILL. Returns its Popen."""
    return subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                            preexec_fn=_die_with_the_test, **settings)


def kill_now(process):
    """Kills a process that start() started with kill -9 and waits for its end."""
    process.kill()
    process.wait()


def pause(process):
    """Stops a process with SIGSTOP and waits until no thread is in a system call any more."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: all(_state(process.pid, thread) == b"T" for thread in os.listdir(f"/proc/{process.pid}/task")),
               "all threads to stop", 60, pause_s=0.001)


def _state(pid, thread):
    return _read(pid, f"task/{thread}/stat").rpartition(b") ")[2][:1]


def signal_if_alive(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def resume(process):
    process.send_signal(signal.SIGCONT)


@dataclasses.dataclass(frozen=True)
class FoundProcess:
    pid: int
    parent: int
    arguments: tuple

    @property
    def program(self):
        return os.path.basename(self.arguments[0]) if self.arguments else ""

    @property
    def attempt_folder(self):
        """The folder of the attempt that a trainer runs; None for other programs."""
        if "--attempt" not in self.arguments[:-1]:
            return None
        return pathlib.Path(self.arguments[self.arguments.index("--attempt") + 1])

    def __str__(self):
        return f"{self.pid}: {' '.join(self.arguments)[:300]}"


def _read(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _found(pid):
    arguments = tuple(part.decode(errors="replace") for part in _read(pid, "cmdline").split(b"\0")[:-1])
    state = _read(pid, "stat").rpartition(b") ")[2].split()
    if not arguments or not state or state[0] in (b"Z", b"X"):
        return None
    return FoundProcess(pid, int(state[1]), arguments)


def processes_of(folder):
    """Returns every other process whose arguments or environment name the folder, without zombies."""
    needle = str(folder).encode()
    return _all_where(lambda pid: needle in _read(pid, "cmdline") or needle in _read(pid, "environ"))


def processes_with(entry):
    """Returns every process that has an environment entry with this prefix."""
    return _all_where(lambda pid: b"\0" + entry.encode() in b"\0" + _read(pid, "environ"))


def children_of(process, program):
    """Returns the children of a process that run a program of this name."""
    return [found for found in _all_where(lambda pid: True)
            if found.parent == process.pid and found.program == program]


def _all_where(holds):
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]
    return [found for found in (_found(pid) for pid in pids if holds(pid)) if found]


def trainers_of(folder, task):
    """Returns the ranks that run attempts of a task, given its id or a prefix such as "align-"."""
    return [process for process in processes_of(folder)
            if process.program == "regroup-trainer" and f"/{task}" in str(process.attempt_folder)]


def kill_all_of(folder):
    for process in processes_of(folder):
        signal_if_alive(process.pid, signal.SIGKILL)
