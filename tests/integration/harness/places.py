"""Paths of the programs under test and of the demonstration's model and text."""

import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PROGRAMS = pathlib.Path(os.environ.get("REGROUP_BIN", REPOSITORY / "build/release/bin"))
MODEL = REPOSITORY / "deploy/demo/model"
TRAINING_TEXT = REPOSITORY / "deploy/demo/train.jsonl"
HELD_OUT_TEXT = REPOSITORY / "deploy/demo/valid.jsonl"
