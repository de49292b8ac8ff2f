"""Paths of the trained model and its texts that the benchmarks read: in the folder that REGROUP_TRAINED_MODELS names, by
default the one that make_trained_model.py makes; the demonstration's if there is none."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
MADE = ROOT / "build/trained-models"
_FOLDER = pathlib.Path(os.environ.get("REGROUP_TRAINED_MODELS", MADE))
_IS_THERE = (_FOLDER / "models/llama-mha-6m").is_dir()
MODEL = _FOLDER / "models/llama-mha-6m" if _IS_THERE else ROOT / "deploy/demo/model"
# The folder with train.jsonl and valid.jsonl.
TEXTS = _FOLDER / "data" if _IS_THERE else ROOT / "deploy/demo"
