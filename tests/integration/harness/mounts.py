"""Mounts small file systems for one test, in its own mount namespace, so that they vanish with it."""

import os
import subprocess
import sys

_SKIPPED = 77
_INSIDE = "REGROUP_TEST_INSIDE_NAMESPACE"


def enter_namespace():
    """Restarts the test in a namespace; skips it if this machine does not allow mounts. Call this before anything
    else."""
    if _INSIDE in os.environ:
        return
    unshare = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    trial = subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], stderr=subprocess.PIPE, text=True)
    if trial.returncode != 0:
        print(f"SKIPPED: this machine lets the test mount no file system: {trial.stderr.strip()}", file=sys.stderr)
        sys.exit(_SKIPPED)
    os.environ[_INSIDE] = "yes"
    os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


def mount(test, folder, size):
    """Mounts a file system of that size on the folder, until the end of the test."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    test.addCleanup(subprocess.run, ["umount", "--lazy", folder], check=False)
    return folder


def resize(folder, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def fill(folder, spare=0):
    """Fills the free space except `spare` bytes. Returns the file that takes it."""
    ballast = folder / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for block in (b"x" * 65536, b"x"):
            try:
                while file.write(block):
                    pass
            except OSError:
                pass
        file.truncate(file.tell() - spare)
    return ballast
