"""Compares multiple-choice scores, item by item, with an independent computation with Transformers.

Always on the shipped model, with three sets made from its own text: of one story, with contexts longer than the model's
window, and of two answers each. Where REGROUP_TRAINED_MODELS is set also on its model, with the sets in its data/mc or, where
it has none, with those that are made: the first items of each, or with REGROUP_NIGHTLY=1 all. Source and result are both
compared.

usage: multiple_choice_oracle.py <regroup> <logits_tool> <source folder> [trained models' folder]
"""

import glob
import json
import os
import sys
import tempfile

import torch
from tokenizers import Tokenizer

from multiple_choice_sets import ITEMS, convert_and_measure, first_items, write_generated_set
from regroup_programs import Programs, report_of
from trained_models import trained_models
from transformers_checks import load

TOLERANCE = 1e-4


class ExactRotary(torch.nn.Module):
    """Replaces Transformers' tables of angles, whose float32 loses four digits at position 255, by float64."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_size // config.num_attention_heads
        self.frequencies = config.rope_parameters["rope_theta"] ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)

    def forward(self, x, position_ids):
        angles = position_ids[..., None].double() * self.frequencies
        angles = torch.cat((angles, angles), -1)
        return angles.cos(), angles.sin()


def exact(folder):
    """Returns Transformers' model in float64."""
    model = load(folder).double()
    model.model.rotary_emb = ExactRotary(model.config)
    return model


def log_likelihood(model, tokenizer, context, choice, longest):
    """Scores " " + choice after the context: one sequence at a time, float64 sums, the context cut at its beginning."""
    before = tokenizer.encode(context).ids
    ids = tokenizer.encode(context + " " + choice).ids
    scored = len(ids) - len(before)
    # The model reads all but the last token.
    ids = ids[-longest - 1 :]
    scored = min(scored, longest)
    tokens = torch.tensor([ids])
    with torch.no_grad():
        log_p = torch.log_softmax(model(tokens[:, :-1]).logits[0].double(), -1)
    own = log_p[-scored:].gather(-1, tokens[0, -scored:, None])
    return own.sum().item()


def check_set(folder, model, tokenizer, data, scores_file):
    with open(scores_file) as file:
        ours = json.load(file)
    with open(data, encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    assert len(ours) == len(items), (len(ours), len(items))
    worst, right, right_per_byte = 0.0, 0, 0
    for item, own in zip(items, ours):
        expected = [log_likelihood(model, tokenizer, item["context"], choice, model.config.max_position_embeddings)
                    for choice in item["choices"]]  # fmt: skip
        worst = max([worst] + [abs(a - b) for a, b in zip(own["log_likelihoods"], expected, strict=True)])
        assert own["bytes"] == [len(choice.encode()) for choice in item["choices"]]
        assert own["characters"] == [len(choice) for choice in item["choices"]]
        per_byte = [score / size for score, size in zip(own["log_likelihoods"], own["bytes"])]
        right += own["log_likelihoods"].index(max(own["log_likelihoods"])) == item["label"]
        right_per_byte += per_byte.index(max(per_byte)) == item["label"]
    assert worst < TOLERANCE, (folder, data, worst)
    return worst, right / len(items), right_per_byte / len(items)


def generated_sets(work, trained):
    sets = {name: f"{work}/{trained.name}-{name}.jsonl" for name in ("generated", "long", "pairs")}
    items = ITEMS or 250
    write_generated_set(sets["generated"], trained.valid, items + 20)
    write_generated_set(sets["long"], trained.valid, items, stories_before=2)
    write_generated_set(sets["pairs"], trained.valid, items, most_others=1)
    longest = load(trained.folder).config.max_position_embeddings
    tokenizer = Tokenizer.from_file(f"{trained.folder}/tokenizer.json")
    with open(sets["long"], encoding="utf-8") as file:
        sizes = [len(tokenizer.encode(json.loads(line)["context"]).ids) for line in file]
    assert sum(size > longest for size in sizes) > len(sizes) / 2, "most contexts have to be cut"
    return sets


def check_model(programs, work, trained, sets):
    name, source_folder, _, _ = trained
    folder = convert_and_measure(programs, work, trained, sets)
    tokenizer = Tokenizer.from_file(f"{source_folder}/tokenizer.json")
    report = report_of(folder)
    for subject, path in (("source", source_folder), ("result", folder)):
        model = exact(path)
        [task] = glob.glob(f"{work}/regroup/jobs/{name}*/evaluate-{subject}/1/out")
        for index, (set_name, data) in enumerate(sets.items()):
            worst, accuracy, per_byte = check_set(path, model, tokenizer, data, f"{task}/choices-{set_name}.json")
            reported = report[subject]["multiple_choice"][index]
            assert reported["name"] == set_name
            assert abs(reported["accuracy"] - accuracy) < 1e-12, (reported, accuracy)
            assert abs(reported["accuracy_per_byte"] - per_byte) < 1e-12, (reported, per_byte)
            print(f"{name} {subject} {set_name}: accuracy {accuracy:.3f}, scores within {worst:.1e}", flush=True)


def main():
    regroup, logits_tool, source, *named = sys.argv[1:]
    programs = Programs(regroup, logits_tool)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for trained in trained_models(source, named):
            made = glob.glob(f"{os.path.dirname(trained.valid)}/mc/*.jsonl")
            sets = {os.path.basename(path)[:-6]: first_items(path, work) for path in sorted(made)}
            check_model(programs, work, trained, sets or generated_sets(work, trained))


main()
