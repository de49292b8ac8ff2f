"""Runs a program on a terminal emulator, tmux, so that a test sees the screen that a person would see."""

import contextlib
import os
import subprocess
import uuid

from harness import processes


class Screen:
    """One program in a window of a size; its screen can be read and its keys pressed."""

    def __init__(self, command, columns, rows, environment):
        self._server = f"regroup-test-{uuid.uuid4().hex[:12]}"
        settings = [f"{name}={value}" for name, value in environment.items()]
        # The shell stays after the program, so that what it left on the terminal can be seen.
        script = 'echo before; "$@"; echo "after: $?"; stty -a | tr ";" "\\n" | grep -oE "[-]?(icanon|echo) "; exec sleep 600'
        self._tmux("-u", "-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows), "env", *settings,
                   "bash", "-c", script, "bash", *map(str, command))
        self._processes = self._tmux("display-message", "-p", "#{pid} #{pane_pid}").split()

    def text(self):
        return self._tmux("capture-pane", "-p")

    def lines(self):
        return self.text().splitlines()

    def wait_for(self, text, patience_s=60):
        """Returns the screen once it shows the text."""
        try:
            return processes.wait_until(lambda: (shown := self.text()) and text in shown and shown, f"{text!r} on the screen",
                                        patience_s, pause_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{self.text()}") from None

    def press(self, *keys):
        self._tmux("send-keys", *keys)

    def resize(self, columns, rows):
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")
        processes.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in self._processes),
                             "the end of the terminal", 60)

    def _tmux(self, *arguments):
        done = subprocess.run(["tmux", "-L", self._server, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=True, timeout=60, env={**os.environ, "TMUX": "", "LANG": "C.UTF-8"})
        return done.stdout
