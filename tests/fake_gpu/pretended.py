"""Makes the programs that tests start use pretended GPUs. Import it before the harness."""

import os
import pathlib

GPUS = 4

os.environ["REGROUP_BIN"] = str(pathlib.Path(os.environ["REGROUP_TEST_PROGRAMS"]) / "fake_gpu/bin")
os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(f"GPU-{index}" for index in range(GPUS))
# For tests/gpu/gpus.py.
os.environ["REGROUP_TEST_PRETENDED_GPUS"] = str(GPUS)
