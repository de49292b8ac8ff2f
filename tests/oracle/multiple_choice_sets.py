"""Makes the multiple-choice sets of the oracles: of a model's own text, or the first items of larger ones."""

import json
import os
import random

ITEMS = None if os.environ.get("REGROUP_NIGHTLY") else 40


def write_generated_set(path, texts_file, count, stories_before=0, most_others=4):
    """Items whose right choice is how a text goes on; the others, one to `most_others`, are how other texts go on.
    `stories_before` whole texts stand before it."""
    chance = random.Random(7)
    with open(texts_file, encoding="utf-8") as file:
        texts = [json.loads(line)["text"].split() for line in file]
    texts = [words for words in texts if len(words) >= 8][:count]
    with open(path, "w", encoding="utf-8") as file:
        for index, words in enumerate(texts):
            cut = chance.randint(3, min(40, len(words) - 3))
            choices = [" ".join(words[cut : cut + chance.randint(1, 6)])]
            for _ in range(chance.randint(1, most_others)):
                other = texts[chance.randrange(len(texts))]
                start = chance.randrange(len(other) - 2)
                choices.append(" ".join(other[start : start + chance.randint(1, 6)]))
            label = chance.randrange(len(choices))
            choices[0], choices[label] = choices[label], choices[0]
            before = [word for number in range(stories_before) for word in texts[index - number - 1]]
            item = {"context": " ".join(before + words[:cut]), "choices": choices, "label": label}
            file.write(json.dumps(item, ensure_ascii=index % 2 == 0) + "\n")


def first_items(path, work):
    """Writes a copy of the set's first ITEMS lines."""
    with open(path, encoding="utf-8") as file:
        lines = file.readlines()[:ITEMS]
    copy = f"{work}/{os.path.basename(path)}"
    with open(copy, "w", encoding="utf-8") as file:
        file.writelines(lines)
    return copy


def convert_and_measure(programs, work, trained, sets):
    """Converts a model to 4 KV heads without training, and measures source and result on the sets {name: file}."""
    return programs.convert(
        work, trained.name, trained.folder, 4, finetune={"method": "none"},
        calibration={"data": trained.train, "sequences": 8, "sequence_length": 128},
        evaluation={"multiple_choice": [{"name": name, "data": path} for name, path in sets.items()]})  # fmt: skip
