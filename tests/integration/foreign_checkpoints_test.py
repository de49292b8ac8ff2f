#!/usr/bin/env python3
"""Folders that are not plain checkpoints: `regroup inspect` names the file and the key, and says what to do."""

import json
import os
import pickle
import shutil
import unittest
import zipfile

from harness import cluster, places
from harness.program_test import ProgramTest

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2471645608\n"
METHODS = ("gptq", "awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "hqq", "torchao", "mxfp4")


class ForeignCheckpointsTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.source = shutil.copytree(places.MODEL, self.folder / "source")
        self.weights = self.source / "model.safetensors"

    def refuse(self, *fragments):
        done = cluster.run_regroup("inspect", self.source)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        lines = [line for line in done.stderr.splitlines() if all(str(fragment) in line for fragment in fragments)]
        self.assertEqual(len(lines), 1, f"no line says {fragments}:\n{done.stderr}")

    def change_config(self, **changes):
        file = self.source / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    def test_quantised_weights_are_named_before_any_tensor(self):
        self.weights.write_bytes(b"")
        for method in METHODS:
            with self.subTest(method):
                self.change_config(quantization_config={"quant_method": method, "bits": 4})
                self.refuse(self.source / "config.json", "quantization_config", f"'{method}'", "dequantize()")
        self.change_config(quantization_config={"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
        self.refuse("quantization_config", "'bitsandbytes'")
        self.change_config(quantization_config={"bits": 4})
        self.refuse("quantization_config", "'quant_method'")

    def test_an_adapter_beside_the_model(self):
        (self.source / "adapter_config.json").write_text("{}")
        self.refuse(self.source / "adapter_config.json", "merge it first")

    def test_an_adapter_alone(self):
        for path in self.source.iterdir():
            path.unlink()
        (self.source / "adapter_config.json").write_text("{}")
        self.refuse("adapter_config.json", "merge it first")

    def test_pointers_of_git_lfs(self):
        for name in ("model.safetensors", "config.json"):
            with self.subTest(name):
                kept = (self.source / name).read_bytes()
                (self.source / name).write_text(LFS_POINTER)
                self.refuse(self.source / name, "git lfs pull")
                (self.source / name).write_bytes(kept)

    def test_links_of_an_interrupted_download(self):
        for name in ("model.safetensors", "config.json"):
            with self.subTest(name):
                kept = (self.source / name).read_bytes()
                (self.source / name).unlink()
                os.symlink("../blobs/4d7a", self.source / name)
                self.refuse(self.source / name, "../blobs/4d7a", "interrupted download")
                (self.source / name).unlink()
                (self.source / name).write_bytes(kept)

    def test_a_page_of_a_failed_download(self):
        self.weights.write_text("<!DOCTYPE html><html><body>401</body></html>")
        self.refuse(self.weights, "HTML", "download")

    def test_weights_of_other_programs(self):
        self.weights.unlink()
        (self.source / "model-q4.gguf").write_bytes(b"GGUF")
        self.refuse("model-q4.gguf", "gguf_file")

    def test_a_pickle_that_runs_a_command(self):
        self.weights.unlink()
        ran = self.folder / "ran"

        class Runs:
            def __reduce__(self):
                return os.system, (f"touch {ran}",)

        self.write_archive(pickle.dumps({"w": Runs()}, protocol=2))
        self.refuse("pytorch_model.bin", "posix.system")
        self.assertFalse(ran.exists())

    def test_a_pickle_of_the_old_format(self):
        self.weights.unlink()
        (self.source / "pytorch_model.bin").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + b"rest")
        self.refuse("pytorch_model.bin", "before 1.6")

    def test_a_truncated_pickle(self):
        self.weights.unlink()
        self.write_archive(pickle.dumps({}, protocol=2))
        file = self.source / "pytorch_model.bin"
        file.write_bytes(file.read_bytes()[:-40])
        self.refuse("pytorch_model.bin", "truncated")

    def write_archive(self, content):
        with zipfile.ZipFile(self.source / "pytorch_model.bin", "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
