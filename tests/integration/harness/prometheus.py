"""Runs a Prometheus in a test's folder, which answers queries and leaves nothing behind."""

import json
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request

from harness import processes


class Prometheus:
    def __init__(self, folder, configuration):
        """`configuration`: the text of prometheus.yml. Files that it names relatively lie in `folder`."""
        program = shutil.which("prometheus")
        if not program:
            raise AssertionError("there is no prometheus; install it: apt-get install --no-install-recommends prometheus")
        (folder / "prometheus.yml").write_text(configuration)
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus",
                   f"--web.listen-address={self.url.removeprefix('http://')}"]
        with open(folder / "prometheus.log", "wb") as log:
            self.process = processes.start(command, stdout=log, stderr=log)
        processes.wait_until(self._is_ready, "Prometheus", pause_s=0.2)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def query(self, expression):
        """Returns [(labels, value)] of an instant query."""
        found = self.get("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def query_range(self, expression, start, end, step_s):
        """Returns [(labels, [(time, value)])] of a range query."""
        found = self.get("query_range", query=expression, start=start, end=end, step=step_s)["result"]
        return [(series["metric"], [(time, float(value)) for time, value in series["values"]]) for series in found]

    def types(self):
        return {name: entries[0]["type"] for name, entries in self.get("metadata").items()}

    def get(self, path, **parameters):
        """Returns the data of an API call; if an expression does not parse, the test fails with Prometheus' message."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode(errors='replace')}") from error

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("prometheus ended at once; see its log")
        try:
            return bool(self.get("query", query="1"))
        except (AssertionError, OSError):
            return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
