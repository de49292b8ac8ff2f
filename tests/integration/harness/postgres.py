"""Runs a PostgreSQL in a test's folder until the test ends. Under root it runs as nobody, since it refuses root."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from harness import processes

_NOBODY = 65534


def _programs():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise AssertionError("there is no PostgreSQL; install it: apt-get install --no-install-recommends postgresql")
    return found[-1].parent


def _as_user():
    """Returns the arguments to put before a command, so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


class Postgres:
    """Listens on a unix socket in its own folder; durable, as in production."""

    def __init__(self):
        # A short path: that of a socket may have 108 characters.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="regroup-postgres-", dir="/tmp"))
        self.process = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        if os.geteuid() == 0:
            os.chown(self.folder, _NOBODY, _NOBODY)
        subprocess.run([*_as_user(), _programs() / "initdb", "--pgdata", self.folder / "data", "--username=regroup",
                        "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"], check=True, cwd="/",
                       stdout=subprocess.DEVNULL)
        with open(self.folder / "log", "wb") as log:
            # PDEATHSIG does not survive the change of the user, so setpriv sets it anew.
            death = ["setpriv", "--pdeathsig=KILL"] if os.geteuid() == 0 else []
            self.process = processes.start([*_as_user(), *death, _programs() / "postgres", "-D", self.folder / "data",
                                            "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}"],
                                           cwd="/", stdout=log, stderr=log)
        processes.wait_until(lambda: self.query("SELECT 1", check=False) == "1", "PostgreSQL", pause_s=0.1)

    @property
    def url(self):
        return f"postgresql:///postgres?host={self.folder}&user=regroup"

    def query(self, sql, check=True):
        """Returns the answer as text, without decoration."""
        done = subprocess.run([_programs() / "psql", self.url, "-qAtc", sql], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
