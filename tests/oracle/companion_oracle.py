"""Checks that a result loads in Transformers the way its source did: code of its own, chat templates; and that licences
come along and other files do not.

usage: companion_oracle.py <regroup> <logits_tool>
"""

import json
import os
import sys
import tempfile

# Transformers reads this when it is imported; it copies a folder's own code there.
MODULES = tempfile.TemporaryDirectory()
os.environ["HF_MODULES_CACHE"] = MODULES.name

import torch  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from regroup_programs import Programs, config_of  # noqa: E402
from tiny_checkpoints import texts_of, write_text  # noqa: E402
from tiny_families import make_family_checkpoint  # noqa: E402
from transformers_checks import logits_of, random_tokens, relative_difference  # noqa: E402

# Modules that import one another; Transformers copies them to a folder of its own, so that all of them must be there.
CODE = {
    "configuration_own": "from transformers import LlamaConfig\n\nclass OwnConfig(LlamaConfig):\n    marked = True\n",
    "modeling_own": "from transformers import LlamaForCausalLM\n\nfrom .configuration_own import OwnConfig\n"
                    "from .scaling_own import factor\n\n\nclass OwnForCausalLM(LlamaForCausalLM):\n"
                    "    config_class = OwnConfig\n    scale = factor()\n",
    "scaling_own": "from .numbers_own import TWO\n\ndef factor():\n    return TWO\n",
    "numbers_own": "TWO = 2\n",
    "tokenization_own": "from transformers import PreTrainedTokenizerFast\n\n"
                        "class OwnTokenizer(PreTrainedTokenizerFast):\n    marked = True\n",
}
AUTO_MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
            "AutoModel": "other/repository--modeling_else.Else"}  # fmt: skip
TEMPLATES = {"tool_use": "tools: {{ messages[0].content }}", "rag": "documents: {{ messages[0].content }}"}
KEPT = {"NOTICE": "notice", "LICENSE-TINY.txt": "licence", "license_of_base.md": "licence",
        "tokenizer.model.v3": "pieces"}  # fmt: skip
LEFT_OUT = {"adapter_model.bin": "weights", "train_own.py": "PASSWORD = 1", "license.pem.d": None,
            "licenses.csv": "list", ".env": "TOKEN=1", "additional_chat_templates/secret.txt": "secret"}  # fmt: skip
MESSAGES = [{"role": "user", "content": "Hello."}]


def write(folder, files):
    for name, text in files.items():
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        if text is None:
            os.makedirs(f"{folder}/{name}")
            continue
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)


def change_json(path, **changes):
    with open(path) as file:
        content = {**json.load(file), **changes}
    with open(path, "w") as file:
        json.dump({key: value for key, value in content.items() if value is not None}, file)


def loaded(folder):
    """Returns what Transformers makes of a folder with its own code: configuration, model, tokenizer."""
    return [kind.from_pretrained(folder, trust_remote_code=True)
            for kind in (AutoConfig, AutoModelForCausalLM, AutoTokenizer)]


def check_own_code(programs, work):
    source = f"{work}/llama"
    write(source, {f"{name}.py": code for name, code in CODE.items()})
    write(source, {f"additional_chat_templates/{name}.jinja": text for name, text in TEMPLATES.items()})
    write(source, {"chat_template.jinja": "plain: {{ messages[0].content }}", **KEPT, **LEFT_OUT})
    change_json(f"{source}/config.json", auto_map=AUTO_MAP, architectures=["OwnForCausalLM"])
    change_json(f"{source}/tokenizer_config.json", chat_template=None, tokenizer_class="OwnTokenizer",
                auto_map={"AutoTokenizer": [None, "tokenization_own.OwnTokenizer"]})  # fmt: skip
    # As many KV heads as the source has: aligned, but not merged.
    result = programs.convert(work, "own-code", source, config_of(source)["num_key_value_heads"],
                              alignment={"method": "procrustes"}, finetune={"method": "none"},
                              calibration={"data": f"{work}/train.jsonl", "sequences": 4, "sequence_length": 32})
    theirs, ours = loaded(source), loaded(result)
    assert [type(one).__name__ for one in ours] == ["OwnConfig", "OwnForCausalLM", "OwnTokenizer"], ours
    assert ours[0].marked and ours[1].scale == 2 and ours[2].marked
    tokens = random_tokens(ours[1], 2, 40)
    difference = relative_difference(logits_of(ours[1].eval(), tokens), logits_of(theirs[1].eval(), tokens))
    assert difference < 1e-4, difference
    for template in (None, *TEMPLATES):
        texts = [one[2].apply_chat_template(MESSAGES, chat_template=template and one[2].chat_template[template],
                                            tokenize=False) for one in (theirs, ours)]  # fmt: skip
        assert texts[0] == texts[1] and "Hello." in texts[0], (template, texts)
    for name, text in KEPT.items():
        with open(f"{result}/{name}") as file:
            assert file.read() == text, name
    for name in LEFT_OUT:
        assert not os.path.lexists(f"{result}/{name}"), name
    print(f"own code, {1 + len(TEMPLATES)} chat templates: loads like the source, logits within {difference:.1e}")


def main():
    programs = Programs(sys.argv[1], sys.argv[2])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as work:
        write_text(f"{work}/train.jsonl", 60, seed=1)
        make_family_checkpoint(work, "llama", texts_of(f"{work}/train.jsonl"))
        check_own_code(programs, work)


main()
