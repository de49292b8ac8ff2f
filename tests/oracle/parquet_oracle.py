"""Compares our reader of Parquet files with pyarrow: forms of columns, encodings, compressions, sizes of pages and row
groups, and damaged files. A file must give the JSON Lines of its rows; a damaged one an error, or what pyarrow reads.

usage: parquet_oracle.py <data_tool>

REGROUP_TEST_MUTANTS is the number of damaged files (default 300; tests/nightly.sh uses 20,000), and REGROUP_TEST_SEED is
their seed (default 7). The same seed gives the same files.
"""

import collections
import decimal
import hashlib
import json
import os
import pathlib
import random
import sys
import tempfile

import pyarrow
import pyarrow.parquet

from json_tool import JsonTool

TEXTS = ["", "a", "zwei Zeilen\nund \"Anführung\" \\", "\u0000\u001f\u007f", "漢字 🙂 e\u0301", "x" * 3000]


def texts_of(rng, rows):
    return [rng.choice([*TEXTS, f"text {rng.random()}", None]) for _ in range(rows)]


def conversation(rng):
    return [{"role": rng.choice(["user", "assistant", None]), "content": rng.choice(TEXTS), "turn": turn,
             "scores": [0.5] * turn} for turn in range(rng.randrange(4))]  # fmt: skip


def table_of(rng, rows):
    """Returns columns of every type that is read, and of types that are not."""
    def some(values):
        return [rng.choice([rng.choice(values), None]) for _ in range(rows)]

    columns = {
        "text": pyarrow.array(texts_of(rng, rows)),
        "large": pyarrow.array(texts_of(rng, rows), pyarrow.large_string()),
        "words": pyarrow.array(texts_of(rng, rows)).dictionary_encode(),
        "view": pyarrow.array(texts_of(rng, rows), pyarrow.string_view()),
        "pair": pyarrow.array([["a", "b"]] * rows, pyarrow.list_(pyarrow.string(), 2)),
        "label": pyarrow.array(some([0, 1, -5, 2**62])),
        "flag": pyarrow.array(some([True, False])),
        "score": pyarrow.array(some([0.5, -1e300, 1.0])),
        "half": pyarrow.array(some([0.25, 3.5]), pyarrow.float32()),
        "choices": pyarrow.array([None if rng.random() < 0.2 else texts_of(rng, rng.randrange(4)) for _ in range(rows)],
                                 pyarrow.list_(pyarrow.string())),
        "messages": pyarrow.array([conversation(rng) for _ in range(rows)], pyarrow.list_(pyarrow.struct(
            {"role": pyarrow.string(), "content": pyarrow.string(), "turn": pyarrow.int32(),
             "scores": pyarrow.list_(pyarrow.float32())}))),
        "meta": pyarrow.array([rng.choice([None, {"source": "web", "page": {"number": 3, "raw": b"\xff"}}]) for _ in range(rows)],
                              pyarrow.struct({"source": pyarrow.string(),
                                              "page": pyarrow.struct({"number": pyarrow.uint8(), "raw": pyarrow.binary()})})),
        "nothing": pyarrow.nulls(rows),
        "bytes": pyarrow.array([b"\xff\x00"] * rows),
        "vector": pyarrow.array([[0.5, 1.5]] * rows),
        "price": pyarrow.array([decimal.Decimal("1.50")] * rows),
        "when": pyarrow.array([1_700_000_000] * rows, pyarrow.timestamp("s")),
    }  # fmt: skip
    for signed in (8, 16, 32):
        for prefix in ("int", "uint"):
            columns[f"{prefix}{signed}"] = pyarrow.array(some([0, 7, 100]), f"{prefix}{signed}")
    columns["uint64"] = pyarrow.array(some([0, 2**64 - 1]), pyarrow.uint64())
    return pyarrow.table(columns)


UNREAD = ("bytes", "vector", "price", "when")


def expected_objects(table):
    objects = []
    for row in table.to_pylist():
        fields = {name: value for name, value in row.items() if name not in UNREAD}
        for message in fields["messages"]:
            del message["scores"]
        if fields["meta"]:
            del fields["meta"]["page"]["raw"]
        objects.append(fields)
    return objects


def check_forms(tool, folder, rng):
    path = folder / "forms.parquet"
    forms = [dict(compression=compression, version=version, data_page_version=page, row_group_size=group,
                  use_dictionary=dictionary, data_page_size=size, write_page_checksum=checksum)
             for compression, version, page, group, dictionary, size, checksum in (
                 ("none", "1.0", "1.0", 1000, True, 1 << 20, False), ("snappy", "2.4", "1.0", 70, True, 1 << 10, True),
                 ("gzip", "2.6", "2.0", 7, False, 1 << 20, False), ("zstd", "2.6", "2.0", 64, True, 1 << 9, True),
                 ("brotli", "2.4", "1.0", 500, False, 1 << 12, False), ("lz4", "2.6", "1.0", 33, True, 1 << 20, True))]  # fmt: skip
    rows = 0
    for form in forms:
        for count in (0, 1, 64, 65, 700):
            table = table_of(rng, count)
            pyarrow.parquet.write_table(table, path, **form)
            answer = tool(read=str(path))
            assert "error" not in answer, (form, count, answer)
            objects = [json.loads(line) for line in answer["objects"]]
            assert objects == expected_objects(table), (form, count)
            assert answer["progress"] == 1, (form, count, answer["progress"])
            assert answer["digest"] == hashlib.sha256(path.read_bytes()).hexdigest(), (form, count)
            rows += count
    print(f"{len(forms)} forms of a file: {rows} rows are equal")
    return path


def check_refusals(tool, folder):
    path = folder / "refused.parquet"
    latin = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe"))
    pyarrow.parquet.write_table(pyarrow.table({"text": latin}), path)
    answer = tool(read=str(path))
    assert answer["code"] == "DATA_LOSS" and "row 1 has text that is not UTF-8" in answer["error"], answer
    # A page of 1.5 GiB of zeros, which takes few bytes in the file.
    values = pyarrow.StringArray.from_buffers(
        96, pyarrow.py_buffer(b"".join((index << 24).to_bytes(4, "little") for index in range(97))),
        pyarrow.py_buffer(bytes(96 << 24)))
    pyarrow.parquet.write_table(pyarrow.table({"text": values}), path, compression="zstd", use_dictionary=False,
                                data_page_size=1 << 31, write_batch_size=1 << 20)
    size = path.stat().st_size
    answer = tool(read=str(path))
    assert answer["code"] == "DATA_LOSS" and "more than 1024 MiB of memory" in answer["error"], answer
    print(f"a file of {size} bytes that unpacks to 1.5 GiB is refused")


def plain(objects):
    """Returns the text of the objects, in which null stands for numbers that JSON lacks, as in our lines."""
    text = json.dumps(objects, sort_keys=True)
    return json.dumps(json.loads(text, parse_constant=lambda _: None))


def check_damaged(tool, path, rng, count):
    """Flips, overwrites and cuts bytes. The tool must answer; where both read, they must read the same."""
    original = path.read_bytes()
    outcomes = collections.Counter()
    for _ in range(count):
        damaged = bytearray(original)
        for _ in range(rng.choice([1, 1, 4])):
            at = rng.choice([rng.randrange(len(damaged)), len(damaged) - 1 - rng.randrange(min(4000, len(damaged)))])
            damaged[at : at + rng.choice([1, 1, 8])] = rng.randbytes(rng.choice([1, 1, 8]))
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        answer = tool(read=str(path))
        try:
            file = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
            theirs = expected_objects(file.read([name for name in file.schema_arrow.names if name not in UNREAD]))
        except Exception:  # pyarrow has many classes of error; which one does not matter here.
            theirs = None
        ours = None if "error" in answer else [json.loads(line) for line in answer["objects"]]
        outcomes["ours: " + ("error" if ours is None else "read"), "pyarrow: " + ("error" if theirs is None else "read")] += 1
        if ours is None:
            assert answer["code"] in ("DATA_LOSS", "INVALID_ARGUMENT"), answer
            assert path.name in answer["error"], answer
        elif theirs is not None:
            assert plain(ours) == plain(theirs), answer["digest"]
    for outcome, number in sorted(outcomes.items()):
        print(f"damaged files, {', '.join(outcome)}: {number}")


def main():
    tool = JsonTool(sys.argv[1])
    rng = random.Random(int(os.environ.get("REGROUP_TEST_SEED", "7")))
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work)
        path = check_forms(tool, folder, rng)
        check_refusals(tool, folder)
        for compression in ("snappy", "none"):
            pyarrow.parquet.write_table(table_of(rng, 150), path, row_group_size=64, data_page_size=1 << 11,
                                        compression=compression)
            print(f"compression {compression}:")
            check_damaged(tool, path, rng, int(os.environ.get("REGROUP_TEST_MUTANTS", "300")) // 2)


main()
