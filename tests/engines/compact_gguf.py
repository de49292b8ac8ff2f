#!/usr/bin/env python3
"""Rewrites a GGUF file so that llama.cpp caches each shared head once.

usage: compact_gguf.py <in.gguf> <out.gguf>        (needs the packages gguf and numpy)

A result in the layout `expanded` repeats each shared head for the query heads that read it, and llama.cpp's converter
takes the folder as it is. This script finds the KV heads of a layer that are equal bit for bit, keeps one of each, puts the
query heads of a group side by side, and writes the number of KV heads (`head_count_kv`), layer by layer where it differs.
The model computes the same. It also corrects a head_count_kv that contradicts the tensors, as the converter writes it for
Phi. Tensors may be quantised as long as no block of numbers belongs to two heads.
"""

import sys

import gguf
import numpy

# llama.cpp takes the numbers of heads of a LLaMA's first layer for all, but not those of DeciLM, which computes the same.
UNEVEN_ARCHITECTURES = {"llama": "deci"}
# Positions enter by the number of the query head, so that query heads cannot change places.
BOUND_TO_ORDER = {"bloom", "mpt"}


class Attention:
    """The attention tensors of one layer, cut into heads: arrays [heads, rows or bytes ...]."""

    def __init__(self, tensors, layer, heads, width):
        self.tensors, self.prefix, self.heads, self.width = tensors, f"blk.{layer}.", heads, width
        self.fused = f"{self.prefix}attn_qkv.weight" in tensors
        if not self.fused and f"{self.prefix}attn_k.weight" not in tensors:
            raise SystemExit(f"compact_gguf: layer {layer} has neither attn_qkv nor attn_k")
        rows = self.data("attn_qkv.weight" if self.fused else "attn_k.weight").shape[0]
        self.kv_heads = (rows // width - heads) // 2 if self.fused else rows // width
        self.repeats = heads // self.kv_heads

    def data(self, name):
        return self.tensors[self.prefix + name]

    def parts(self, kind):
        """Returns the query, key and value of "weight" or "bias", or None without such tensors."""
        if self.fused:
            if self.prefix + f"attn_qkv.{kind}" not in self.tensors:
                return None
            whole = self.by_head(self.data(f"attn_qkv.{kind}"))
            return numpy.split(whole, [self.heads, self.heads + self.kv_heads])
        names = [f"attn_{letter}.{kind}" for letter in "qkv"]
        if self.prefix + names[0] not in self.tensors:
            return None
        return [self.by_head(self.data(name)) for name in names]

    def by_head(self, data):
        return data.reshape(-1, self.width, *data.shape[1:])

    def groups(self):
        """Returns, for each distinct KV head, its number and the query heads that read it."""
        pieces = [part for kind in ("weight", "bias") for part in (self.parts(kind) or [None])[1:]]
        found = {}
        for head in range(self.heads):
            kv_head = head // self.repeats
            key = b"".join(numpy.ascontiguousarray(piece[kv_head]).tobytes() for piece in pieces)
            found.setdefault(key, (kv_head, []))[1].append(head)
        return list(found.values())

    def write(self, kept, order):
        """Keeps these KV heads and puts the query heads into this order."""
        for kind in ("weight", "bias"):
            parts = self.parts(kind)
            if parts is None:
                continue
            chosen = [parts[0][order], parts[1][kept], parts[2][kept]]
            flat = [part.reshape(-1, *part.shape[2:]) for part in chosen]
            if self.fused:
                self.tensors[self.prefix + f"attn_qkv.{kind}"] = numpy.concatenate(flat)
            else:
                for letter, part in zip("qkv", flat):
                    self.tensors[self.prefix + f"attn_{letter}.{kind}"] = part
        output = self.data("attn_output.weight")
        if output.shape[1] % self.heads:
            raise SystemExit(f"compact_gguf: {self.prefix}attn_output.weight: a block of its type spans two heads")
        columns = output.reshape(output.shape[0], self.heads, -1)[:, order]
        self.tensors[self.prefix + "attn_output.weight"] = columns.reshape(output.shape)


def compact(attention, architecture, layer):
    """Returns the layer's number of KV heads, after its tensors have been rewritten."""
    groups = attention.groups()
    if len({len(readers) for _, readers in groups}) != 1:
        # Heads that are equal by chance only: the layer stays as it is.
        return attention.kv_heads
    order = [head for _, readers in groups for head in readers]
    if order != list(range(attention.heads)):
        if architecture in BOUND_TO_ORDER:
            return attention.kv_heads
        if attention.tensors.get(f"blk.{layer}.attn_q_norm.weight", numpy.empty(attention.width)).size != attention.width:
            raise SystemExit(f"compact_gguf: layer {layer} has a norm over all query heads, whose order would change")
    attention.write([kv_head for kv_head, _ in groups], order)
    return len(groups)


def write(path, reader, architecture, tensors, changed):
    """Writes tensors and the reader's keys, `changed` in place of those of the same name, as a model of `architecture`."""
    writer = gguf.GGUFWriter(path, arch=architecture)
    before = reader.fields[gguf.Keys.General.ARCHITECTURE].contents() + "."
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        name = f"{architecture}.{field.name.removeprefix(before)}" if field.name.startswith(before) else field.name
        if name not in changed:
            writer.add_key_value(name, field.contents(), kind, sub_type=element)
    for name, value in changed.items():
        if isinstance(value, list):
            writer.add_array(name, value)
        else:
            writer.add_uint32(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, numpy.ascontiguousarray(tensors[tensor.name]), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reader = gguf.GGUFReader(sys.argv[1])
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()

    def number(key, otherwise=None):
        field = reader.fields.get(key.format(arch=architecture))
        return otherwise if field is None else field.contents()

    heads = number(gguf.Keys.Attention.HEAD_COUNT)
    width = number(gguf.Keys.Attention.KEY_LENGTH, number(gguf.Keys.LLM.EMBEDDING_LENGTH) // heads)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    counts = [compact(Attention(tensors, layer, heads, width), architecture, layer)
              for layer in range(number(gguf.Keys.LLM.BLOCK_COUNT))]  # fmt: skip
    if len(set(counts)) > 1:
        architecture = UNEVEN_ARCHITECTURES.get(architecture, architecture)
    key = gguf.Keys.Attention.HEAD_COUNT_KV.format(arch=architecture)
    write(sys.argv[2], reader, architecture, tensors, {key: counts if len(set(counts)) > 1 else counts[0]})
    print(f"compact_gguf: {heads} query heads, KV heads of the layers: {counts}")


if __name__ == "__main__":
    main()
