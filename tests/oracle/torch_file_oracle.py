"""Compares our reader of torch.save's archives with torch.load(weights_only=True): every element type, strides, offsets
and shared storages, and thousands of damaged files.

Our reader may reject files that torch accepts; it must reject all files that torch rejects, and read the same numbers
from files that both accept.

usage: torch_file_oracle.py <safetensors_tool>

REGROUP_TEST_MUTANTS is the number of damaged files (default 600; tests/nightly.sh uses 20,000), and REGROUP_TEST_SEED is
their seed (default 7). The same seed gives the same files.
"""

import collections
import os
import pickle
import random
import struct
import sys
import tempfile
import zipfile

import safetensors.torch
import torch

from json_tool import JsonTool
from safetensors_oracle import DTYPES, compare_readers, hex_of

NEWER = {torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64", torch.complex64: "C64",
         torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.float8_e8m0fnu: "F8_E8M0"}  # fmt: skip
ALL_DTYPES = {**DTYPES, **NEWER}


def some_tensors(rng):
    """Returns a state dictionary with every element type and every way in which tensors can share storages."""
    tensors = collections.OrderedDict()
    for index, dtype in enumerate(ALL_DTYPES):
        shape = [rng.randrange(1, 5) for _ in range(rng.randrange(0, 4))]
        tensors[f"layer.{index}.weight"] = torch.randint(0, 2, shape).to(dtype)
    base = torch.randn(6, 8)
    tensors["view.rows"] = base[2:4]
    tensors["view.columns"] = base[:, 3:7:2]
    tensors["view.transposed"] = base.t()
    tensors["view.last"] = base.flatten()[-1]
    tensors["expanded"] = torch.randn(3, 1).expand(3, 5)
    tensors["empty"] = torch.zeros(3, 0, 2)
    tensors["parameter"] = torch.nn.Parameter(torch.randn(2, 3))
    tensors["buffer"] = torch.nn.parameter.Buffer(torch.randn(2))
    marked = torch.nn.Parameter(torch.randn(2))
    marked.note = "an attribute"
    tensors["parameter.with_attribute"] = marked
    tensors["ünïcödé \"quoted\" name"] = torch.randn(2, 3)
    tensors["tied"] = tensors["view.rows"]
    return tensors


def check_equal(answer, tensors, what):
    assert "error" not in answer, (what, answer)
    assert set(answer["tensors"]) == set(tensors), (what, set(answer["tensors"]) ^ set(tensors))
    for name, tensor in tensors.items():
        ours = answer["tensors"][name]
        assert ours["dtype"] == ALL_DTYPES[tensor.dtype], (what, name, ours["dtype"])
        assert ours["shape"] == list(tensor.shape), (what, name)
        assert ours["hex"] == hex_of(tensor.detach()), (what, name)


def check_good(tool, folder, rng):
    path = f"{folder}/good.bin"
    for index in range(20):
        tensors = some_tensors(rng)
        torch.save(tensors if index % 2 else dict(tensors), path)
        check_equal(tool(weights=path), tensors, "a state dictionary")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.save(model.state_dict(), path)
    check_equal(tool(weights=path), model.state_dict(), "a module's state dictionary")
    torch.save({"w": torch.ones(2), "step": 7, "rate": 0.5, "note": "x", "none": None, "list": [1, (2, 3)]}, path)
    check_equal(tool(weights=path), {"w": torch.ones(2)}, "values beside the tensors")
    print("good files: 22")


def check_digests(tool, folder):
    """The same tensors have the same digest in either format, and a changed one has another."""
    digests = []
    base = torch.randn(4, 6)
    for name, save, weight in (("a", safetensors.torch.save_file, base.t()), ("b", torch.save, base.t()),
                               ("c", torch.save, base.t() + 1)):
        os.makedirs(f"{folder}/{name}")
        with open(f"{folder}/{name}/config.json", "w") as file:
            file.write("{}")
        is_pickle = save is torch.save
        tensors = {"weight": weight if is_pickle else weight.contiguous(), "bias": base[1]}
        save(tensors, f"{folder}/{name}/{'pytorch_model.bin' if is_pickle else 'model.safetensors'}")
        answer = tool(folder=f"{folder}/{name}")
        assert answer["tensors"] == {"bias": ["F32", [6]], "weight": ["F32", [6, 4]]}, answer
        digests.append(answer["digest"])
    assert digests[0] == digests[1] != digests[2], digests
    print("digests are those of the tensors")


class Runs:
    """Would run a command when unpickled."""

    def __reduce__(self):
        return os.system, ("echo it ran > /dev/stderr; exit 1",)


def script(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)


def big_endian(path):
    torch.save({"w": torch.ones(2)}, path)
    rewrite(path, path, lambda members: members.update(byteorder=b"big"))


def compressed(path):
    torch.save({"w": torch.ones(100)}, path)
    rewrite(path, path, lambda members: None, zipfile.ZIP_DEFLATED)


def bomb(path):
    """A member that torch reads for its own use, of 256 MB in a few hundred kilobytes."""
    torch.save({"w": torch.ones(2)}, path)
    rewrite(path, path, lambda members: members.update(version=b"3" * (1 << 28)), zipfile.ZIP_DEFLATED)


def bare_pickle(path):
    with open(path, "wb") as file:
        pickle.dump({"w": [1.0]}, file)


def truncated(path):
    torch.save({"w": torch.ones(10000)}, path)
    os.truncate(path, os.path.getsize(path) // 2)


def text(content):
    def write(path):
        with open(path, "wb") as file:
            file.write(content)
    return write


def saved(value, **options):
    return lambda path: torch.save(value, path, **options)


REFUSED = {
    "a command": (saved({"w": torch.ones(1), "x": Runs()}), "posix.system"),
    "a whole module": (saved(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear"),
    "the format before torch 1.6": (saved({"w": torch.ones(2)}, _use_new_zipfile_serialization=False), "before 1.6"),
    "a nested dictionary": (saved({"model": {"w": torch.ones(2)}, "step": 1}), "under the key \"model\""),
    "a list": (saved([torch.ones(2)]), "state_dict"),
    "a sparse tensor": (saved({"w": torch.eye(3).to_sparse()}), "_rebuild_sparse_tensor"),
    "a program": (script, "TorchScript"),
    "another byte order": (big_endian, "byte order"),
    "compressed members": (compressed, "compressed"),
    "a bare pickle": (bare_pickle, "not an archive of torch.save"),
    "a truncated file": (truncated, "truncated"),
    "an empty file": (text(b""), "truncated"),
    "a pointer of Git LFS": (text(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"), "git lfs pull"),
    "a small member that unpacks to a large one": (bomb, "compressed"),
    "a large expanded tensor": (saved({"w": torch.ones(1).expand(1 << 40)}), "repeats its elements"),
    "a tensor whose bytes no integer can count": (saved({"w": torch.ones(1).expand(1 << 62)}), "repeats its elements"),
    "many large expanded tensors": (saved({str(i): torch.ones(1).expand(1 << 14) for i in range(1000)}),
                                    "repeat their elements"),
    "a tensor whose storage is to be negated": (saved({"w": torch.complex(*torch.ones(2, 3)).conj().imag}),
                                                "resolve_neg"),
}  # fmt: skip


def check_refused(tool, folder):
    path = f"{folder}/refused.bin"
    for what, (write, fragment) in REFUSED.items():
        write(path)
        answer = tool(weights=path)
        assert fragment in answer.get("error", "") and path in answer["error"], (what, answer)
    print(f"refused by name: {len(REFUSED)}")


def rewrite(source, target, change, compression=zipfile.ZIP_STORED):
    """Writes an archive with changed members; its directory and checksums are right."""
    with zipfile.ZipFile(source) as archive:
        top = archive.namelist()[0].split("/")[0]
        members = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{top}/{name}", content)


OPCODES = [bytes([opcode]) for opcode in b"(.GJKMNQRUXabcehjqrstu)]}\x85\x86\x87\x88\x89\x80\x8a\x8b\x8c\x93\x94\x95012BFILPSVdgilop"]
NUMBERS = [0, 1, 2, 3, 4, 255, 2**31 - 1, 2**16]


def damage_pickle(content, rng):
    content = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        position = rng.randrange(len(content))
        way = rng.randrange(5)
        if way == 0:
            content[position : position + 1] = rng.choice(OPCODES)
        elif way == 1:
            content[position:position] = rng.choice(OPCODES)
        elif way == 2:
            del content[position : position + rng.randrange(1, 5)]
        elif way == 3:
            other = rng.randrange(len(content))
            content[position:position] = content[other : other + rng.randrange(1, 40)]
        else:
            content[position : position + 1] = rng.choice(
                [b"K" + bytes([rng.randrange(256)]), b"J" + struct.pack("<i", rng.choice(NUMBERS)),
                 b"J" + struct.pack("<i", -1), b"\x8a\x08" + struct.pack("<q", 2**62)])  # fmt: skip
    return bytes(content)


def damage_names(content, rng):
    names = [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n"]
    others = [b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nHalfStorage\n", b"ctorch\nLongStorage\n",
              b"ctorch._utils\n_rebuild_tensor\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nSize\n",
              b"ctorch\nDoubleStorage\n", b"ctorch.storage\nUntypedStorage\n", b"ctorch\nfloat32\n"]  # fmt: skip
    return content.replace(rng.choice(names), rng.choice(others), rng.choice([1, -1]))


def damage_archive(path, rng):
    content = bytearray(open(path, "rb").read())
    for _ in range(rng.randrange(1, 4)):
        # Mostly in the directory, which lies at the end.
        begin = rng.choice([0, max(0, len(content) - 1500)])
        content[rng.randrange(begin, len(content))] = rng.choice([0, 1, 8, 255, rng.randrange(256)])
    if rng.randrange(4) == 0:
        del content[rng.randrange(len(content)) :]
    with open(path, "wb") as file:
        file.write(content)


def damaged(good, path, rng):
    way = rng.randrange(8)
    if way == 0:
        # torch decodes this member for its own statistics, after everything is read.
        rewrite(good, path, lambda members: members.pop(".data/serialization_id"))
        damage_archive(path, rng)
    elif way == 1:
        rewrite(good, path, lambda members: members.update(
            {rng.choice(["data/0", "data/1", "version", "byteorder"]): rng.choice([b"", b"3\n", b"\0" * 7])}))
    else:
        change = damage_names if way == 2 else damage_pickle
        rewrite(good, path, lambda members: members.update({"data.pkl": change(members["data.pkl"], rng)}))


def torch_reads(path):
    """Returns the tensors of torch.load, or the error with which it refuses. It runs in a process of its own: torch
    trusts the sizes in the file, so that a damaged one can end it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            loaded = torch.load(path, weights_only=True, map_location="cpu")
            answer = {name: (ALL_DTYPES[tensor.dtype], list(tensor.shape), hex_of(tensor.detach()))
                      for name, tensor in loaded.items() if isinstance(name, str) and isinstance(tensor, torch.Tensor)}
        except BaseException as error:
            answer = repr(error)
        with os.fdopen(writing, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        content = file.read()
    os.waitpid(child, 0)
    return pickle.loads(content) if content else "torch ended"


def check_damaged(tool, folder, rng, count):
    good, path = f"{folder}/whole.bin", f"{folder}/damaged.bin"

    def damage(index):
        if index % 50 == 0:
            torch.save(dict(rng.sample(list(some_tensors(rng).items()), 5)), good)
        damaged(good, path, rng)

    compare_readers(count, damage, torch_reads, lambda file: tool(weights=file), path)


def main():
    seed, count = int(os.environ.get("REGROUP_TEST_SEED", 7)), int(os.environ.get("REGROUP_TEST_MUTANTS", 600))
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    tool = JsonTool(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        check_good(tool, folder, rng)
        check_digests(tool, folder)
        check_refused(tool, folder)
        check_damaged(tool, folder, rng, count)


main()
