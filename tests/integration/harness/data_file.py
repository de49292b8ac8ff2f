"""Writes data files: JSON Lines, and the same lines as Parquet."""

import json
import subprocess

from harness import places

WRITE_PARQUET = ("import io, sys, pyarrow.json, pyarrow.parquet as parquet; "
                 "parquet.write_table(pyarrow.json.read_json(io.BytesIO(sys.stdin.buffer.read())), sys.argv[1], row_group_size=15)")


def write_lines(path, objects):
    path.write_text("".join(json.dumps(line) + "\n" for line in objects))
    return path


def write_parquet(path, lines):
    """Writes lines of JSON, as bytes, as rows, with the pyarrow of the build."""
    subprocess.run([places.REPOSITORY / "build/venv/bin/python", "-c", WRITE_PARQUET, path], input=lines, check=True)
    return path
