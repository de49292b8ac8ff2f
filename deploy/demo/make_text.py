#!/usr/bin/env python3
"""Writes the demo's text: short stories from a seeded grammar, one {"text": ...} per line.

    make_text.py --out deploy/demo          # train.jsonl and valid.jsonl, always the same bytes

A story first states facts about a few people with invented names, then things happen, then the facts are needed again:
who owned what, how many are left, where a thing was put, what the password was. Names are made of syllables and most
occur in one story only, so a model must look them up in the story; that is work for its attention heads. Agreement,
trades, animals and sums are the same everywhere and go into the other weights.

Only the standard library is used. Every story has its own random stream, drawn from (split, seed, number of the story).
"""

import argparse
import json
import pathlib
import random

from words import (
    ANIMALS, CHARACTERS, COLOURS, CONTAINERS, DAYS, ERRANDS, FOODS, GOODS, MAN_ENDINGS, MIDDLES, MOODS, NUMBERS, ONSETS,
    ORDINALS, PLACES, REASONS, THINGS, TOWN_BACKS, TOWN_FRONTS, TRADES, TRAVEL, VOWELS, WEATHERS, WOMAN_ENDINGS,
)

SEED = 20677
TRAIN_BYTES = 1_200_000
VALID_BYTES = 130_000
MAX_STORY_BYTES = 900


def with_article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def counted(number, noun):
    return f"{NUMBERS[number]} {noun if number == 1 else noun + 's'}"


def listed(words):
    return ", ".join(words[:-1]) + " and " + words[-1]


class Person:
    """A character in a story, with everything that later sentences may need. The name's ending decides the pronoun."""

    def __init__(self, rng, taken):
        self.woman = rng.random() < 0.5
        self.name = fresh_name(rng, self.woman, taken)
        self.he, self.him, self.his = ("she", "her", "her") if self.woman else ("he", "him", "his")
        self.character = rng.choice(CHARACTERS)
        self.trade = rng.choice(list(TRADES))
        self.town = rng.choice(TOWN_FRONTS) + rng.choice(TOWN_BACKS)
        self.animal = rng.choice(list(ANIMALS))
        self.animal_colour = rng.choice(COLOURS)
        self.animal_name = fresh_name(rng, rng.random() < 0.5, taken)
        self.food = rng.choice(FOODS)


def fresh_name(rng, woman, taken):
    while True:
        long = rng.random() >= 0.7
        middle = rng.choice(MIDDLES)
        if long:
            middle += rng.choice(VOWELS) + rng.choice(MIDDLES[:10])
        name = rng.choice(ONSETS) + rng.choice(VOWELS) + middle + rng.choice(WOMAN_ENDINGS if woman else MAN_ENDINGS)
        if name not in taken:
            taken.add(name)
            return name.capitalize()


class Story:
    """Collects sentences, and the facts that can be asked at the end as (question, answer)."""

    def __init__(self, rng):
        self.rng = rng
        self.sentences = []
        self.facts = []
        taken = set()
        self.people = [Person(rng, taken) for _ in range(rng.choice((2, 2, 3, 3, 4)))]

    def say(self, sentence):
        self.sentences.append(sentence[0].upper() + sentence[1:])

    def remember(self, question, answer):
        self.facts.append((question, answer))

    def anyone(self):
        return self.rng.choice(self.people)

    def two(self):
        return self.rng.sample(self.people, 2)

    def text(self):
        return " ".join(self.sentences)


# Introductions. Each states a fact and stores the question that asks for it.

def tell_trade(story, p):
    tool, work, place = TRADES[p.trade]
    story.say(f"{p.name} was {with_article(p.character)} {p.trade} from {p.town}.")
    if story.rng.random() < 0.5:
        story.say(f"Every day {p.he} took the {tool}, went to the {place} and {work}.")
    story.remember(f"Where did {p.name} come from?", f"{p.name} came from {p.town}.")
    story.remember(f"What was {p.name}?", f"{p.name} was {with_article(p.trade)}.")


def tell_pet(story, p):
    story.say(f"{p.name} had {with_article(p.animal_colour)} {p.animal} called {p.animal_name}.")
    story.remember(f"What was the name of the {p.animal_colour} {p.animal}?", f"It was called {p.animal_name}.")
    story.remember(f"Who owned {p.animal_name}?", f"{p.name} owned {p.animal_name}.")
    story.remember(f"What colour was {p.animal_name}?", f"{p.animal_name} was {p.animal_colour}.")


def tell_food(story, p):
    story.say(f"{p.name} liked {p.food} more than anything else.")
    story.remember(f"What did {p.name} like?", f"{p.name} liked {p.food}.")


# Scenes. Each adds a few sentences to the story; the later ones in a scene follow from the earlier ones.

def scene_give(story):
    giver, taker = story.two()
    noun = story.rng.choice(GOODS)
    had, got = story.rng.randint(1, 9), story.rng.randint(1, 9)
    story.say(f"{taker.name} had {counted(had, noun)}.")
    story.say(f"{giver.name} gave {taker.him} {counted(got, noun)}.")
    story.say(f"Now {taker.name} had {counted(had + got, noun)}.")
    story.remember(f"How many {noun}s did {taker.name} have?", f"{taker.name} had {counted(had + got, noun)}.")


def scene_lose(story):
    p = story.anyone()
    noun = story.rng.choice(GOODS)
    had = story.rng.randint(3, 12)
    lost = story.rng.randint(1, had - 1)
    verb = story.rng.choice(("lost", "sold", "broke", "gave away"))
    story.say(f"{p.name} bought {counted(had, noun)}, but {p.he} {verb} {counted(lost, noun)}.")
    story.say(f"So {p.name} had {counted(had - lost, noun)} left.")


def scene_move(story):
    rng = story.rng
    thing = f"{rng.choice(COLOURS)} {rng.choice(THINGS)}"
    spots = [f"in the {c}" for c in rng.sample(CONTAINERS, 3)]
    mover, finder = story.two()
    story.say(f"The {thing} lay {spots[0]}.")
    story.say(f"{mover.name} took the {thing} and hid it {spots[1]}.")
    if rng.random() < 0.5:
        story.say(f"{finder.name} looked {spots[0]}, but the {thing} was {spots[1]}.")
        story.say(f"So {finder.name} found it {spots[1]}.")
    else:
        story.say(f"When {finder.name} came, the {thing} was no longer {spots[0]}.")
    story.remember(f"Where was the {thing}?", f"The {thing} was {spots[1]}.")
    story.remember(f"Who hid the {thing}?", f"{mover.name} hid the {thing}.")


def scene_errand(story):
    sender, goer = story.two()
    goods = story.rng.sample(ERRANDS, story.rng.randint(3, 5))
    story.say(f'{sender.name} asked {goer.name} to buy {listed(goods)}.')
    story.say(f"{goer.name} went to the market and bought {listed(goods)}.")
    if story.rng.random() < 0.4:
        story.say(f"Back home {goer.he} took them out from the last to the first: {listed(goods[::-1])}.")
    place = story.rng.randrange(len(goods))
    ordinal = ORDINALS[place]
    story.remember(f"What was the {ordinal} thing on the list?", f"The {ordinal} thing was {goods[place]}.")


def scene_password(story):
    keeper, guest = story.two()
    word = fresh_name(story.rng, story.rng.random() < 0.5, set()).lower()
    place = story.rng.choice(PLACES)
    story.say(f'{keeper.name} guarded the {place}, and the password was "{word}".')
    story.say(f'{guest.name} came to the {place} and said "{word}", and {keeper.name} let {guest.him} in.')
    story.remember(f"What was the password of the {place}?", f'It was "{word}".')


COMPARISONS = (
    ("older", "oldest", "youngest"), ("taller", "tallest", "shortest"), ("richer", "richest", "poorest"),
)


def scene_compare(story):
    if len(story.people) < 3:
        return scene_race(story)
    word, most, least = story.rng.choice(COMPARISONS)
    a, b, c = story.rng.sample(story.people, 3)
    story.say(f"{a.name} was {word} than {b.name}, and {b.name} was {word} than {c.name}.")
    story.say(f"So the {most} was {a.name} and the {least} was {c.name}.")
    story.remember(f"Who was the {most}?", f"The {most} was {a.name}.")
    story.remember(f"Who was the {least}?", f"The {least} was {c.name}.")


def scene_race(story):
    winner, loser = story.two()
    place = story.rng.choice(PLACES)
    story.say(f"{winner.name} and {loser.name} ran to the {place}.")
    story.say(f"{winner.name} came first, so {loser.name} came second.")
    story.remember(f"Who came first at the {place}?", f"{winner.name} came first.")


def scene_pet(story):
    p = story.anyone()
    sound, food = ANIMALS[p.animal]
    story.say(f"{p.name} called {p.animal_name} and gave the {p.animal} some {food}.")
    story.say(f"{p.animal_name} {sound} and ate the {food}.")


def scene_meet(story):
    a, b = story.two()
    place = story.rng.choice(PLACES)
    story.say(f"{a.name} met {b.name} at the {place}.")
    story.say(f'"Who are you?" asked {a.name}.')
    story.say(f'"My name is {b.name}, and I am the {b.trade} from {b.town}," said {b.name}.')
    if story.rng.random() < 0.5:
        story.say(f'"Then I am glad to meet the {b.trade} from {b.town}," said {a.name}.')


def scene_meal(story):
    host, guest = story.two()
    day = story.rng.randrange(7)
    story.say(f"On {DAYS[day]} {host.name} cooked {guest.food}, because {guest.name} liked {guest.food}.")
    story.say(f"On {DAYS[(day + 1) % 7]} {guest.name} thanked {host.him} and cooked {host.food} for {host.name}.")


def scene_mood(story):
    p = story.anyone()
    mood = story.rng.choice(MOODS)
    weather = story.rng.choice(WEATHERS)
    story.say(f"It was {with_article(weather)} day, and {p.name} was {mood}, so {p.he} {REASONS[mood]}.")


def scene_trip(story):
    p = story.anyone()
    verb = story.rng.choice(list(TRAVEL))
    first, second = story.rng.sample(PLACES, 2)
    story.say(f"{p.name} {verb} from the {first} to the {second} {TRAVEL[verb]}.")
    story.say(f"Later {p.he} {verb} back from the {second} to the {first}.")


def scene_trade(story):
    a, b = story.two()
    first, second = (f"{story.rng.choice(COLOURS)} {thing}" for thing in story.rng.sample(THINGS, 2))
    story.say(f"{a.name} had the {first} and {b.name} had the {second}.")
    story.say(f"They made a trade, and now {a.name} had the {second} and {b.name} had the {first}.")
    story.remember(f"Who had the {first} at last?", f"{b.name} had the {first}.")
    story.remember(f"What did {a.name} get from {b.name}?", f"{a.name} got the {second}.")


INTRODUCTIONS = (tell_trade, tell_pet, tell_food)
SCENES = (
    scene_give, scene_lose, scene_move, scene_errand, scene_password, scene_compare, scene_race, scene_pet, scene_meet,
    scene_meal, scene_mood, scene_trip, scene_trade,
)


def introduce(story):
    for person in story.people:
        for tell in story.rng.sample(INTRODUCTIONS, story.rng.choice((1, 1, 2))):
            tell(story, person)


def ask_again(story):
    questions = story.rng.sample(story.facts, min(len(story.facts), story.rng.randint(2, 4)))
    for question, answer in questions:
        story.say(question)
        story.say(answer)


def tell_story(rng):
    """Writes facts, one to three scenes, and questions about them."""
    story = Story(rng)
    introduce(story)
    for scene in rng.sample(SCENES, rng.randint(1, 3)):
        scene(story)
    ask_again(story)
    return story.text()


def tell_register(rng):
    """Writes a table that is read twice in different orders: every answer is somewhere above."""
    story = Story(rng)
    thing = rng.choice(THINGS)
    colours = rng.sample(COLOURS, len(story.people))
    for person, colour in zip(story.people, colours):
        story.say(f"{person.name} of {person.town} owns the {colour} {thing}.")
    for person, colour in rng.sample(list(zip(story.people, colours)), len(story.people)):
        story.say(f"The {colour} {thing} belongs to {person.name} of {person.town}.")
    return story.text()


def tell_lesson(rng):
    """Writes sums, days and animals, which are the same in every story."""
    story = Story(rng)
    teacher, pupil = story.two()
    story.say(f"{teacher.name} taught {pupil.name}.")
    for _ in range(rng.randint(2, 4)):
        question, answer = rng.choice((sum_question, day_question, animal_question, tool_question))(rng)
        story.say(f'"{question}" asked {teacher.name}.')
        story.say(f'"{answer}" said {pupil.name}.')
    return story.text()


def sum_question(rng):
    a, b = rng.randint(1, 10), rng.randint(1, 10)
    question = f"How much is {NUMBERS[a]} and {NUMBERS[b]}?"
    return question, f"{NUMBERS[a].capitalize()} and {NUMBERS[b]} make {NUMBERS[a + b]},"


def day_question(rng):
    day = rng.randrange(7)
    return f"What day comes after {DAYS[day]}?", f"After {DAYS[day]} comes {DAYS[(day + 1) % 7]},"


def animal_question(rng):
    animal = rng.choice(list(ANIMALS))
    return f"What does the {animal} eat?", f"The {animal} eats {ANIMALS[animal][1]},"


def tool_question(rng):
    trade = rng.choice(list(TRADES))
    return f"Where does the {trade} work?", f"The {trade} works in the {TRADES[trade][2]} with the {TRADES[trade][0]},"


def story_number(split, number, seed=SEED):
    """Returns the text with this number in the given split; numbers can be asked for in any order."""
    rng = random.Random(f"{split}/{seed}/{number}")
    while True:
        text = rng.choices((tell_story, tell_register, tell_lesson), weights=(8, 1, 1))[0](rng)
        if len(text) <= MAX_STORY_BYTES:
            return text


def write_split(path, split, size, seed):
    written = 0
    with open(path, "w", encoding="ascii", newline="\n") as out:
        number = 0
        while written < size:
            line = json.dumps({"text": story_number(split, number, seed)}) + "\n"
            out.write(line)
            written += len(line)
            number += 1
    print(f"{path}: {number} texts, {written} bytes")


def main():
    parser = argparse.ArgumentParser(description="Writes train.jsonl and valid.jsonl of the demo.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    write_split(arguments.out / "train.jsonl", "train", TRAIN_BYTES, arguments.seed)
    write_split(arguments.out / "valid.jsonl", "valid", VALID_BYTES, arguments.seed)


if __name__ == "__main__":
    main()
