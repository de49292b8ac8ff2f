"""Compares our safetensors reader and writers with the Python package: round trips, and thousands of damaged files.

Our reader may reject files that Python accepts; it must reject all files that Python rejects, and read the same bytes
from files that both accept.

usage: safetensors_oracle.py <safetensors_tool>

REGROUP_TEST_MUTANTS is the number of damaged files (default 1,000; tests/nightly.sh uses 20,000), and REGROUP_TEST_SEED
is their seed (default 7). The same seed gives the same files.
"""

import json
import os
import random
import struct
import sys
import tempfile

import safetensors
import safetensors.torch
import torch

from json_tool import JsonTool

DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32",
    torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
}  # fmt: skip


def hex_of(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes().hex() if tensor.numel() else ""


def some_tensors(rng):
    tensors = {}
    for index, dtype in enumerate(DTYPES):
        shape = [rng.randrange(1, 5) for _ in range(rng.randrange(0, 4))]
        tensors[f"layer.{index}.weight"] = torch.randint(0, 2, shape).to(dtype)
    tensors["empty"] = torch.zeros(3, 0, 2)
    tensors["ünïcödé \"quoted\" \\ name"] = torch.randn(2, 3)
    return tensors


def check_equal(answer, tensors, what):
    assert "error" not in answer, (what, answer)
    assert set(answer["tensors"]) == set(tensors), what
    for name, tensor in tensors.items():
        ours = answer["tensors"][name]
        assert ours["dtype"] == DTYPES[tensor.dtype], (what, name)
        assert ours["shape"] == list(tensor.shape), (what, name)
        assert ours["hex"] == hex_of(tensor), (what, name)


def check_round_trip(tool, folder, rng):
    for index in range(30):
        tensors = some_tensors(rng)
        theirs, ours = f"{folder}/theirs.safetensors", f"{folder}/ours.safetensors"
        safetensors.torch.save_file(tensors, theirs, metadata={"format": "pt", "note": f"número {index}"})
        check_equal(tool(read=theirs), tensors, "reading Python's file")
        assert "error" not in tool(rewrite=theirs, to=ours)
        with safetensors.safe_open(ours, "pt") as file:
            assert file.metadata() == {"format": "pt", "note": f"número {index}"}
        loaded = safetensors.torch.load_file(ours)
        assert set(loaded) == set(tensors)
        for name, tensor in tensors.items():
            assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor), name
        with open(ours, "rb") as file:
            assert struct.unpack("<Q", file.read(8))[0] % 8 == 0, "the header is not padded"
    print("round trips: 30 files")


def check_shards(tool, folder, rng):
    source, target = f"{folder}/source", f"{folder}/target"
    os.makedirs(source), os.makedirs(target)
    with open(f"{source}/config.json", "w") as file:
        json.dump({"model_type": "llama"}, file)
    with open(f"{target}/config.json", "w") as file:
        json.dump({"model_type": "llama"}, file)
    tensors = {f"t{index}": torch.randn(10, rng.randrange(1, 20)) for index in range(25)}
    safetensors.torch.save_file(tensors, f"{source}/model.safetensors")
    files = tool(shard=source, to=target, bytes=2000)["files"]
    assert len(files) > 3 and files[-1] == "model.safetensors.index.json", files
    index = json.load(open(f"{target}/model.safetensors.index.json"))
    assert index["metadata"]["total_size"] == sum(t.numel() * 4 for t in tensors.values())
    for name, tensor in tensors.items():
        with safetensors.safe_open(f"{target}/{index['weight_map'][name]}", "pt") as file:
            assert torch.equal(file.get_tensor(name), tensor)
    for name in files[:-1]:
        assert os.path.getsize(f"{target}/{name}") < 2000 + 3000
    ours, split = tool(folder=source), tool(folder=target)
    assert ours["tensors"] == split["tensors"] and ours["digest"] == split["digest"], "sharding changed the digest"
    print(f"shards: {len(files) - 1} files")


def header_and_data(content):
    size = struct.unpack("<Q", content[:8])[0]
    return content[8 : 8 + size], content[8 + size :]


def with_header(header, data):
    return struct.pack("<Q", len(header)) + header + data


def damage_bytes(content, rng):
    content = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        position = rng.randrange(min(len(content), 700))
        content[position] = rng.choice([rng.randrange(256), ord(rng.choice('0123456789"{}[],:-.eE ')), 0, 255])
    return bytes(content)


def damage_length(content, rng):
    cut = rng.randrange(len(content))
    return rng.choice([content[:cut], content + b"\0" * rng.randrange(1, 9), content[:cut] + content[cut + 1 :]])


def damage_header_text(content, rng):
    header, data = header_and_data(content)
    position = rng.randrange(len(header))
    piece = rng.choice([b"1", b"0", b"-", b".0", b"e1", b" ", b'"', b"{}", b"null", b"[", b"]", b",", b"\\u0000", b"\\ud800",
                        b"\xff", b"\xef\xbb\xbf", b"18446744073709551616", b"9223372036854775808"])  # fmt: skip
    return with_header(header[:position] + piece + header[position + rng.randrange(3) :], data)


NUMBERS = [0, 1, 2, 3, 8, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, 1.0, 1e3, None, "4", True, [1]]


def damage_fields(content, rng):
    header, data = header_and_data(content)
    tree = json.loads(header)
    names = [name for name in tree if name != "__metadata__"]
    info = tree[rng.choice(names)]
    choice = rng.randrange(7)
    if choice == 0:
        info["data_offsets"][rng.randrange(2)] = rng.choice(NUMBERS + [rng.randrange(200)])
    elif choice == 1:
        info["shape"].insert(rng.randrange(len(info["shape"]) + 1), rng.choice(NUMBERS))
    elif choice == 2:
        info["dtype"] = rng.choice(list(DTYPES.values()) + ["F8_E4M3", "f32", "", None, 3, "C64", "U64"])
    elif choice == 3:
        del info[rng.choice(list(info))]
    elif choice == 4:
        info[rng.choice(["extra", "dtype2", "__metadata__"])] = rng.choice(NUMBERS)
    elif choice == 5:
        tree["__metadata__"] = rng.choice([None, {}, {"a": 1}, {"a": None}, [], "x", {"a": "b"}, {"a": ["b"]}])
    else:
        first, second = rng.choice(names), rng.choice(names)
        tree[first]["data_offsets"], tree[second]["data_offsets"] = tree[second]["data_offsets"], tree[first]["data_offsets"]
    return with_header(json.dumps(tree).encode(), data)


def damage_by_repeating(content, rng):
    header, data = header_and_data(content)
    tree = json.loads(header)
    name = rng.choice(list(tree))
    again = json.dumps({name: tree[name]})[1:-1].encode()
    text = json.dumps(tree).encode()
    return with_header(rng.choice([text[:-1] + b", " + again + b"}", b"{" + again + b", " + text[1:]]), data)


def respelled(text, rng):
    """Returns JSON with the same meaning, or nearly: escapes, other number formats, whitespace."""
    way = rng.randrange(5)
    if way == 0:
        letter = rng.choice("aedlt0")
        return text.replace(letter, "\\u%04x" % ord(letter), rng.randrange(1, 3))
    if way == 1:
        digits = [index for index, letter in enumerate(text) if letter.isdigit()]
        position = rng.choice(digits)
        ending = rng.choice([".0", "e0", "E+0", "e-0", "_", "n", "0"])
        return text[: position + 1] + ending + text[position + 1 :]
    if way == 2:
        digits = [index for index, letter in enumerate(text) if letter.isdigit()]
        position = rng.choice(digits)
        return text[:position] + rng.choice(["0", "-", "+", "-0", "0x", " "]) + text[position:]
    if way == 3:
        sign = rng.choice([",", ":", "{", "]"])
        blank = rng.choice(["\t", "\n", "\r", "\v", "\f", "\u00a0", "\u2003", "/**/", "//\n", "\ufeff"])
        return text.replace(sign, blank + sign if rng.randrange(2) else sign + blank, rng.randrange(1, 4))
    return text.replace('"', rng.choice(["'", "", '\\"']), 2)


def damage_spelling(content, rng):
    header, data = header_and_data(content)
    return with_header(respelled(header.decode(), rng).encode("utf-8", "surrogatepass"), data)


def damage_padding(content, rng):
    header, data = header_and_data(content)
    padding = rng.choice([b" ", b"\0", b"\n", b"\t", b"x", b"}", b"{}", b",", b"\xa0", b"  \0"]) * rng.randrange(1, 10)
    stripped = header.rstrip(b" ")
    return with_header(rng.choice([stripped + padding, padding + stripped, header + padding]), data)


def damage_by_splicing(content, rng):
    """Returns the header's entries in another order, some left out, with the data unchanged."""
    header, data = header_and_data(content)
    entries = list(json.loads(header).items())
    rng.shuffle(entries)
    kept = entries[: rng.randrange(1, len(entries) + 1)] if rng.randrange(2) else entries
    end = max([info["data_offsets"][1] for name, info in kept if name != "__metadata__"], default=0)
    return with_header(json.dumps(dict(kept)).encode(), rng.choice([data, data[:end], data[: end + 1]]))


def python_reads(path):
    try:
        with open(path, "rb") as file:
            content = file.read()
        tensors = dict(safetensors.deserialize(content))
        with safetensors.safe_open(path, "np") as file:
            file.keys()
        return {name: (info["dtype"], list(info["shape"]), bytes(info["data"]).hex()) for name, info in tensors.items()}
    except Exception as error:
        return repr(error)


def compare_readers(count, damage, read_theirs, read_ours, path):
    """Compares what two readers make of `count` damaged files; `damage(index)` writes one to `path`. A reader that
    refuses a file returns the error: theirs as text, ours under "error"."""
    both = only_we_refuse = refused = 0
    for index in range(count):
        damage(index)
        theirs, ours = read_theirs(path), read_ours(path)
        if isinstance(theirs, str):
            assert "error" in ours, f"number {index}: we accept what is refused there: {theirs}"
            refused += 1
        elif "error" in ours:
            only_we_refuse += 1
        else:
            both += 1
            mine = {name: (info["dtype"], info["shape"], info["hex"]) for name, info in ours["tensors"].items()}
            assert mine == theirs, f"number {index}"
        assert "error" not in ours or path in ours["error"], ours
    print(f"damaged files: {count}; both refuse {refused}, both read {both}, only we refuse {only_we_refuse}")
    assert refused > count // 4 and both > count // 50


def check_damaged(tool, folder, rng, count):
    ways = [damage_bytes, damage_length, damage_header_text, damage_fields, damage_by_repeating, damage_spelling,
            damage_padding, damage_by_splicing]  # fmt: skip
    path = f"{folder}/damaged.safetensors"
    good = b""

    def damage(index):
        nonlocal good
        if index % 50 == 0:
            good = safetensors.torch.save(some_tensors(rng), metadata={"format": "pt"})
        with open(path, "wb") as file:
            file.write(rng.choice(ways)(good, rng))

    compare_readers(count, damage, python_reads, lambda file: tool(read=file), path)


def main():
    seed, count = int(os.environ.get("REGROUP_TEST_SEED", 7)), int(os.environ.get("REGROUP_TEST_MUTANTS", 1000))
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tool = JsonTool(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        check_round_trip(tool, folder, rng)
        check_shards(tool, folder, rng)
        check_damaged(tool, folder, rng, count)


if __name__ == "__main__":
    main()
