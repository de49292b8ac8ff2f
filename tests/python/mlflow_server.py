"""Runs an MLflow server on loopback with its store in a test's folder until the test ends."""

import os
import socket
import sys
import urllib.error
import urllib.request

from harness import processes


class MlflowServer:
    """`url` is the address for clients."""

    def __init__(self, folder, python=sys.executable):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        # The functions for language models in the server would start programs of their own.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
                       "HOME": str(folder)}  # fmt: skip
        with open(folder / "mlflow.log", "wb") as log:
            self._process = processes.start(
                [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1,
                 "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts"],
                cwd=folder, env=environment, stdout=log, stderr=log)  # fmt: skip
        processes.wait_until(self._answers, "the MLflow server", 180, pause_s=0.2)

    def stop(self):
        """Ends the server and what it started."""
        self._process.terminate()
        self._process.wait(timeout=60)

    def _answers(self):
        if self._process.poll() is not None:
            raise AssertionError("the MLflow server ended")
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
