"""Starts our tokenizer_tool, and knows which characters its libraries may know differently."""

import json
import subprocess
import unicodedata


class TokenizerProgram:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the tool died on {request}")
        return json.loads(answer)


def is_recent(character):
    """Returns true for a character that Unicode 3.2 did not have yet."""
    return unicodedata.ucd_3_2_0.category(character) == "Cn"
