"""Drives the real programs: jobs through `regroup run`, logits through logits_tool."""

import glob
import json
import os
import subprocess
import tempfile

import safetensors.torch


class Programs:
    def __init__(self, regroup, logits_tool):
        self.regroup = regroup
        self.logits_tool = logits_tool

    def convert(self, work, name, source, kv_heads, **sections):
        """Runs one job and returns the folder of its result. Sections are those of the job file."""
        done, output = self.run(work, name, source, kv_heads, **sections)
        if done.returncode != 0:
            raise AssertionError(f"{name}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return output

    def run(self, work, name, source, kv_heads, **sections):
        """Returns the finished process of a job, and the folder for its result."""
        output = f"{work}/{name}"
        job = {"name": name, "source": {"checkpoint": source}, "target": {"kv_heads": kv_heads},
               "output": {"checkpoint": output}, **sections}  # fmt: skip
        job_file = f"{work}/{name}.yaml"
        with open(job_file, "w") as file:
            json.dump(job, file, indent=1)  # JSON is YAML
        done = subprocess.run([self.regroup, "run", job_file, "--work-dir", f"{work}/regroup"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=900)  # fmt: skip
        return done, output

    def logits(self, folder, tokens, alignment=None):
        """Returns the trainer's own logits [B, T, V], float32, of tokens [B, T]; with a result's alignment.safetensors,
        those of the folder's model after its heads are aligned, none merged."""
        with tempfile.TemporaryDirectory() as scratch:
            with open(f"{scratch}/tokens.json", "w") as file:
                json.dump(tokens.tolist(), file)
            output = f"{scratch}/logits.safetensors"
            command = [self.logits_tool, folder, f"{scratch}/tokens.json", output] + ([alignment] if alignment else [])
            subprocess.run(command, check=True, timeout=300)
            return safetensors.torch.load_file(output)["logits"]


def report_of(folder):
    with open(f"{folder}/regroup/report.json") as file:
        return json.load(file)


def weights_of(folder):
    tensors = {}
    for path in sorted(glob.glob(f"{folder}/*.safetensors")):
        tensors.update(safetensors.torch.load_file(path))
    return tensors


def config_of(folder):
    with open(os.path.join(folder, "config.json")) as file:
        return json.load(file)
