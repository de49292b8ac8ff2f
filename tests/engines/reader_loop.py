"""The loop of a reader, a program that runs an engine in its environment: requests come on standard input, and the answers go
to a file, line by line, so that those before a crash are there."""

import json
import sys


def answer_all(read, text_of=str, after_each=lambda: None):
    """Answers [{"folder": F, ...}, ...] with lines {"folder": F, ...} in the file that the command line names: with what
    read(**request) returns, or with {"error": text_of(exception)}, since what an engine cannot load is an answer, too."""
    requests = json.load(sys.stdin)
    with open(sys.argv[1], "w") as answers:
        for request in requests:
            try:
                answer = read(**request)
            except Exception as error:  # noqa: BLE001
                answer = {"error": text_of(error)}
            answers.write(json.dumps({"folder": request["folder"], **answer}) + "\n")
            answers.flush()
            after_each()
