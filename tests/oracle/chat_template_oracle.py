"""Compares chat templates with apply_chat_template of Transformers: text and tokens must be equal, or both refuse. First templates
with the structure of public models, on many conversations; then random ones, which Regroup may also refuse by name.
usage: chat_template_oracle.py <chat_template_tool> <folder of a model> [random templates [seed]]
"""

import collections
import json
import os
import random
import re
import shutil
import sys
import tempfile

import transformers
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from chat_conversations import CONVERSATIONS, turn
from chat_template_generator import Generator
from chat_templates import TEMPLATES
from json_tool import JsonTool

DATE = {"date_string": "2 Jan 2020"}
VARIABLES = {"word": "Hello, World", "line": "  b a\n", "n": 3, "f": 0.25, "words": ["Hello", "b", "a b", ""], "numbers": [3, 1, 2, 2], "mixed": [1, "a", None, {"k": 1}],
             "tree": {"name": "Tree's", "a": 1, "b": [1, 2], "inner": {"x": "y", "q": None}, "items": 5}}  # fmt: skip
MESSAGES = [turn("system", "Be short."), turn("user", "Why?\n"), turn("assistant", "Because ü.", name="A"), turn("user", "")]


def write_folder(folder, model, template, **config):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name in os.listdir(model):
        if not name.endswith(".safetensors"):
            shutil.copy(os.path.join(model, name), folder)
    if template is not None:
        with open(f"{folder}/chat_template.jinja", "w", encoding="utf-8") as file:
            file.write(template)
    with open(f"{folder}/tokenizer_config.json", encoding="utf-8") as file:
        tree = {**json.load(file), **config}
    with open(f"{folder}/tokenizer_config.json", "w", encoding="utf-8") as file:
        json.dump(tree, file)


def expected(tokenizer, conversation, variables, with_ids=True, asks=False):
    messages, tools = conversation["messages"], conversation.get("tools")
    variables = {**variables, "add_generation_prompt": asks}
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **variables)
        if not with_ids:
            return {"text": text}
        return {"text": text, "ids": tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False, **variables)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def check(name, ours, theirs, counts, may_refuse=False):
    """Counts how the two answers compare; ends the program if they differ."""
    if "error" not in ours and "error" not in theirs:
        for key in theirs:
            assert ours[key] == theirs[key], f"{name}: {key} differs\nours   {ours[key]!r}\ntheirs {theirs[key]!r}"
        counts["equal"] += 1
    elif "error" in ours and "error" in theirs:
        counts["both refuse"] += 1
    else:
        assert may_refuse and ours.get("unsupported"), f"{name}\nours   {ours}\ntheirs {theirs}"
        counts["refused by name"] += 1
        counts["refused: " + re.sub(r"'[^']*'", lambda found: found.group() if len(found.group()) < 16 else "'...'", ours["error"].split("support: ")[1])] += 1


def structures(tool, folder, model):
    counts, most_equal = collections.Counter(), len(CONVERSATIONS)
    for name, template in TEMPLATES.items():
        write_folder(folder, model, template)
        loaded = tool(folder=folder)
        assert "error" not in loaded, (name, loaded)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        own = collections.Counter()
        for index, conversation in enumerate(CONVERSATIONS):
            variables = {**DATE, **conversation.get("variables", {})}
            for asks in (False, True):
                ours = tool(messages=conversation["messages"], tools=conversation.get("tools"), variables=variables, asks_for_answer=asks)
                theirs = expected(tokenizer, conversation, variables, asks=asks)
                check(f"{name}, conversation {index}, asks {asks}", ours, theirs, own, may_refuse=True)
        most_equal = min(most_equal, own["equal"])
        counts += own
    print(f"structures: {len(TEMPLATES)}, {sum(len(name.split(', ')) for name in TEMPLATES)} models, {len(CONVERSATIONS)} conversations each, with and without a prompt for an answer: {dict(counts)}")
    assert counts["refused by name"] == 0 and most_equal >= 3, counts
    write_folder(folder, model, TEMPLATES["LLaMA 3.1, LLaMA 3.2"])
    tool(folder=folder)
    error = tool(messages=MESSAGES)["error"]
    assert "chat_template.jinja:10: " in error and 'strftime_now' in error and '"date_string"' in error, error
    print("a date: refused with the variable that gives it")


def places(tool, folder, model):
    """Compares the places of a template, and which of several templates counts."""
    counts = collections.Counter()
    several = [{"name": "default", "template": "D{{ messages|length }}"}, {"name": "tool_use", "template": "T{{ tools|length }}"}]
    cases = {"text": {"chat_template": "C{{ bos_token }}{{ eos_token }}{{ unk_token }}"}, "list": {"chat_template": several}, "null": {"chat_template": None},
             "no default": {"chat_template": several[1:]}, "tokens": {"chat_template": "{{ image_token ~ extra ~ pad_token ~ mask_token is defined }}", "image_token": "<i>",
                                                                      "extra_special_tokens": {"extra": "<e>"}, "mask_token": None}}  # fmt: skip
    for name, config in cases.items():
        for files in ({}, {"chat_template.jinja": "J\n"}, {"chat_template.jinja": "J", "additional_chat_templates/tool_use.jinja": "A"},
                      {"additional_chat_templates/default.jinja": "E\r\n\r\n", "chat_template.jinja": "J"}, {"additional_chat_templates/rag.jinja": "R"},
                      {"chat_template.json": '{"chat_template": "old"}'}):  # fmt: skip
            write_folder(folder, model, None, **config)
            os.makedirs(f"{folder}/additional_chat_templates")
            for file, text in files.items():
                with open(f"{folder}/{file}", "w", encoding="utf-8", newline="") as stream:
                    stream.write(text)
            loaded = tool(folder=folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            for tools in (None, [], [{"type": "function"}]):
                ours = loaded if "error" in loaded else tool(messages=MESSAGES, tools=tools)
                theirs = expected(tokenizer, {"messages": MESSAGES, "tools": tools}, {})
                if name == "no default" and "text" in theirs:
                    assert "no template named \"default\"" in ours.get("error", "") or ours == theirs, (files, ours, theirs)
                    continue
                check(f"{name}, {sorted(files)}, tools {tools}", ours, theirs, counts, may_refuse=True)
    print(f"places of templates: {dict(counts)}")
    assert counts["refused by name"] == 0, counts


def classes(tool, folder, model):
    """Compares the tokens that Transformers gives to a template, of which some are those of the tokenizer's class."""
    counts = collections.Counter()
    for name in ("PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizer", "Qwen2TokenizerFast", None):
        for model_type in ("llama", "qwen2", "mistral", "gemma2"):
            for tokens in ({}, {"eos_token": "</s>", "unk_token": None}):
                write_folder(folder, model, "{{ bos_token }}{{ messages[0].content }}{% if eos_token is defined %}{{ eos_token }}{% endif %}")
                os.remove(f"{folder}/special_tokens_map.json")
                with open(f"{folder}/tokenizer_config.json", "w", encoding="utf-8") as file:
                    json.dump({**({"tokenizer_class": name} if name else {}), **tokens}, file)
                with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
                    json.dump({"model_type": model_type}, file)
                tool(folder=folder)
                theirs = expected(AutoTokenizer.from_pretrained(folder), {"messages": MESSAGES[1:2]}, {}, with_ids=False)
                check(f"{name}, {model_type}, {tokens}", tool(messages=MESSAGES[1:2]), theirs, counts, may_refuse=True)
    print(f"classes of tokenizers: {dict(counts)}")
    assert counts["equal"] >= 8, counts


def randoms(tool, count, seed):
    rng, counts = random.Random(seed), collections.Counter()
    variables = {**VARIABLES, "messages": MESSAGES, "tools": None, "documents": None, "add_generation_prompt": False, "bos_token": "<s>"}
    chat = {"messages": MESSAGES, "variables": VARIABLES}
    for index in range(count):
        source = Generator(rng).template()
        try:
            theirs = {"text": chat_template_utils._compile_jinja_template(source).render(**variables)}
        except Exception as error:
            theirs = {"error": f"{type(error).__name__}: {error}"}
        if " at 0x" in theirs.get("text", ""):
            theirs = {"error": "the text holds an address"}
        ours = tool(source=source, tokens={"bos_token": "<s>"})
        if "error" not in ours:
            ours = tool(**chat)
        check(f"random template {index}, seed {seed}\n{source}", ours, theirs, counts, may_refuse=True)
    print(f"random templates: {count}, seed {seed}: " + ", ".join(f"{counts[key]} {key}" for key in ("equal", "both refuse", "refused by name")))
    for reason, number in counts.most_common():
        if reason.startswith("refused: "):
            print(f"  {number} {reason}")
    assert counts["equal"] >= 0.4 * count and counts["refused by name"] <= 0.1 * count, counts


def main():
    transformers.logging.set_verbosity_error()
    tool, model = JsonTool(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        structures(tool, f"{folder}/model", model)
        places(tool, f"{folder}/model", model)
        classes(tool, f"{folder}/model", model)
    randoms(tool, int(sys.argv[3]) if len(sys.argv) > 3 else 600, int(sys.argv[4]) if len(sys.argv) > 4 else 18)


main()
