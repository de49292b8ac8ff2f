#!/usr/bin/env python3
"""Calibration keeps sums, not activations: neither its memory nor its files grow with the number of sequences."""

import json
import os
import sys
import unittest

from harness import job_file, places
from harness.program_test import ProgramTest

# Several rounds of residual streams each, which take 16 MiB: the first ones leave the allocator with what it keeps.
FEW, MANY = 256, 2048
SEQUENCE_LENGTH = 128
HIDDEN_SIZE = 256
LAYERS = 4

# Stands in for regroup-trainer: runs it and keeps the largest resident memory beside the attempt's logs.
MEASURING_TRAINER = """#!{python}
import os, pathlib, sys
child = os.fork()
if child == 0:
    os.execv("{trainer}", ["{trainer}", *sys.argv[1:]])
_, status, usage = os.wait4(child, 0)
attempt = pathlib.Path(sys.argv[sys.argv.index("--attempt") + 1])
(attempt / "peak_memory_kib").write_text(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


class CalibrationMemoryTest(ProgramTest):
    def setUp(self):
        super().setUp()
        trainer = self.folder / "measuring-trainer"
        trainer.write_text(MEASURING_TRAINER.format(python=sys.executable, trainer=places.PROGRAMS / "regroup-trainer"))
        trainer.chmod(0o755)
        self.cluster = self.start_cluster(workers=1, slots=1, trainer=trainer)

    def calibrate(self, sequences):
        """Returns (peak bytes of the process, bytes of its attempt's folder and of the statistics, names of the
        files)."""
        name = f"sequences-{sequences}"
        calibration = {"sequences": sequences, "sequence_length": SEQUENCE_LENGTH}
        job = self.cluster.submit(self.write_job(
            job_file.aligned_only(self.results / name, name=name, calibration=calibration), f"{name}.yaml"))
        self.assert_succeeded(self.cluster.wait_for_end(job))
        attempt = self.cluster.work / "jobs" / job / "calibrate/1"
        statistics = self.cluster.work / json.loads((attempt / "out/statistics.json").read_text())["folder"]
        peak = int((attempt / "peak_memory_kib").read_text()) * 1024
        return peak, sizes_of(statistics), sizes_of(attempt / "out")

    def test_neither_memory_nor_files_grow(self):
        few_peak, few_statistics, few_out = self.calibrate(FEW)
        many_peak, many_statistics, many_out = self.calibrate(MANY)
        activations = (MANY - FEW) * SEQUENCE_LENGTH * HIDDEN_SIZE * LAYERS * 4
        print(f"peak {few_peak / 1e6:.1f} MB with {FEW} sequences, {many_peak / 1e6:.1f} MB with {MANY}; the "
              f"activations between them: {activations / 1e6:.1f} MB; statistics {sum(many_statistics.values()) / 1e6:.1f} MB")
        self.assertLess(many_peak - few_peak, activations / 20)
        self.assertEqual(few_statistics, many_statistics)
        self.assertEqual(few_out, many_out)
        self.assertGreater(sum(many_statistics.values()), 0)


def sizes_of(folder):
    return {os.path.relpath(path, folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    unittest.main(verbosity=2)
