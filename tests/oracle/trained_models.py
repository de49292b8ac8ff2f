"""The trained models that the oracles check: the demonstration's always, and llama-mha-6m where REGROUP_TRAINED_MODELS, a
variable of CMake, names a folder that has it. A folder that is named and has none is an error, not a check less."""

import os
import typing


class Trained(typing.NamedTuple):
    name: str
    folder: str
    train: str
    valid: str


def demonstration(source):
    demo = f"{source}/deploy/demo"
    return Trained("demo", f"{demo}/model", f"{demo}/train.jsonl", f"{demo}/valid.jsonl")


def trained_models(source, named):
    """`named`: what is left of the command line, the folder or nothing."""
    models = [demonstration(source)]
    for folder in map(os.path.abspath, named):
        models.append(Trained("six-m", f"{folder}/models/llama-mha-6m", f"{folder}/data/train.jsonl",
                              f"{folder}/data/valid.jsonl"))
    for model in models:
        for path in model[1:]:
            if not os.path.exists(path):
                raise SystemExit(f"{path} is missing; tests/bench/make_trained_model.py makes such a folder")
    return models
