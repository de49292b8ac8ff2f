"""Where the benchmarks find a really trained model and its texts; the demonstration's where there is none."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
_FOLDER = pathlib.Path(os.environ.get("REGROUP_TRAINED_MODELS", ROOT.parent / "shared"))
_IS_THERE = (_FOLDER / "models/llama-mha-6m").is_dir()
MODEL = _FOLDER / "models/llama-mha-6m" if _IS_THERE else ROOT / "deploy/demo/model"
# train.jsonl and valid.jsonl
TEXTS = _FOLDER / "data" if _IS_THERE else ROOT / "deploy/demo"
