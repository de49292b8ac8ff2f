"""Trains the layers of a merged model with PyTorch, for layerwise_research.py and layerwise_rates.py: an implementation of the
equations in trainer/layerwise/README.md of its own. Models of the LLaMA kind only, in float32."""

import dataclasses
import json
import pathlib
import subprocess
import tempfile

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from least_squares import solve_values_and_outputs

# Windows behind those that are trained on, which only measure the error.
HELD_OUT = 16


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How layers are trained; the defaults are the product's."""
    passes: int = 2
    rate: float = 0  # 0: 4e-3 sqrt(256 / hidden size)
    batch: int = 2
    map_weight: float = 1
    map_share: float = 0.4
    # Residual stream before the layer: of the source, or of the student's layers trained so far. Target: the source's
    # attention output, or ("correct") what brings the student's stream back to the source's.
    inputs: str = "source"
    correct: bool = False
    feed_forward: bool = False  # train it too, on the block's output
    span: int = 1  # layers that are trained together, on their own stream
    ema: float = 0
    # Share of the steps in which only queries and keys are trained ("keys"), or only values and outputs ("values").
    first: str = ""
    first_share: float = 0.3
    solve: int = 0  # sweeps of alternating least squares for values and outputs before the training
    # Training of the whole model afterwards.
    global_steps: int = 0
    global_rate: float = 6e-5
    attention_weight: float = 0  # of L_out on the student's own stream, summed over layers


def folder(path):
    return pathlib.Path(path).resolve()


def windows_of(model, file, length, count):
    """Returns the first windows of the texts as the product cuts them, [count, length]."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    end = json.loads((model / "config.json").read_text())["eos_token_id"]
    tokens = []
    with open(file) as lines:
        for line in lines:
            tokens += [*tokenizer.encode(json.loads(line)["text"]).ids, end]
            if len(tokens) >= count * length:
                break
    count = min(count, len(tokens) // length)
    return torch.tensor(tokens[:count * length]).view(count, length)


def merge(arguments, kv_heads):
    """Converts with the product. Returns the merged model and, by layer, the source's query head at each place."""
    with tempfile.TemporaryDirectory() as place:
        model, order = merge_in(arguments, kv_heads, pathlib.Path(place))
    return model.requires_grad_(False), order


def merge_in(arguments, kv_heads, place):
    job = {"name": "research", "source": {"checkpoint": str(arguments.model)}, "target": {"kv_heads": kv_heads},
           "calibration": {"data": str(arguments.texts / "train.jsonl"), "sequences": 96,
                           "sequence_length": arguments.sequence_length},
           "alignment": {"method": "principal"}, "refine": {"outputs": False}, "finetune": {"method": "none"},
           "output": {"checkpoint": str(place / "model")}}
    (place / "job.yaml").write_text(json.dumps(job))
    subprocess.run([arguments.programs / "regroup", "run", place / "job.yaml", "--work-dir", place / "work"], check=True,
                   stdout=subprocess.DEVNULL)
    layers = json.loads((place / "model/regroup/report.json").read_text())["layers"]
    order = {layer["index"]: [head for group in layer["groups"] for head in group] for layer in layers}
    return AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float32), order


def attend(attention, x, rotary, with_map):
    """Returns the attention's output, and the logarithms of its probabilities [windows, heads, queries, keys]."""
    heads = (*x.shape[:2], -1, attention.head_dim)
    q, k, v = attention.q_proj(x).view(heads), attention.k_proj(x).view(heads), attention.v_proj(x).view(heads)
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    q, k = apply_rotary_pos_emb(q, k, *rotary)
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    if with_map:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(2, 3) * attention.scaling).masked_fill(future, -1e9)
        log_map = scores.log_softmax(-1)
        mixed = log_map.exp() @ v
    else:
        log_map = None
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=attention.scaling)
    return attention.o_proj(mixed.transpose(1, 2).flatten(2)), log_map


def divergence(teacher, student):
    return (teacher.exp() * (teacher - student)).sum(-1).mean()


def in_batches(windows, compute):
    with torch.no_grad():
        return torch.cat([compute(windows[place:place + 8]) for place in range(0, len(windows), 8)])


class Layers:
    """The source's model and the student's, with what the training of layers needs of both: the source's streams before
    every layer and behind the last, the variances of its branches, and which windows are trained on.
    """

    def __init__(self, source, student, order, windows):
        self.source, self.student, self.order, self.tokens = source, student, order, windows
        self.windows, self.held_out = torch.arange(len(windows)).split([len(windows) - HELD_OUT, HELD_OUT])
        positions = torch.arange(windows.shape[1])[None]
        self.rotary = source.model.rotary_emb(source.model.embed_tokens.weight[None, :1], positions)
        self.streams = [in_batches(windows, source.model.embed_tokens)]
        self.variances = []
        for layer in source.model.layers:
            branch = in_batches(self.streams[-1], lambda r: self.branch(layer, r)[0])
            self.variances.append((branch - branch.mean((0, 1))).square().sum(-1).mean().item())
            self.streams.append(in_batches(self.streams[-1], lambda r: self.block(layer, r)))

    def branch(self, layer, stream, with_map=False):
        return attend(layer.self_attn, layer.input_layernorm(stream), self.rotary, with_map)

    def block(self, layer, stream):
        stream = stream + self.branch(layer, stream)[0]
        return stream + layer.mlp(layer.post_attention_layernorm(stream))

    def targets(self, index, windows):
        return in_batches(self.streams[index][windows], lambda r: self.branch(self.source.model.layers[index], r)[0])

    def error(self, index):
        """Returns L_out of the student's layer on the source's inputs, on the windows that are not trained on."""
        ours = self.student.model.layers[index]
        branch = in_batches(self.streams[index][self.held_out], lambda r: self.branch(ours, r)[0])
        return (branch - self.targets(index, self.held_out)).square().sum(-1).mean().item() / self.variances[index]

    def loss(self, index, span, recipe, inputs, windows, with_map):
        """Returns the loss of `span` layers that follow each other, on these windows."""
        ours_stream, total = inputs[windows], 0
        for number in range(index, index + span):
            ours, theirs = self.student.model.layers[number], self.source.model.layers[number]
            stream = self.streams[number][windows]
            with torch.no_grad():
                target, theirs_map = self.branch(theirs, stream, with_map)
            branch, ours_map = self.branch(ours, ours_stream, with_map)
            difference = branch - target
            if recipe.correct or span > 1:
                difference = difference + ours_stream - stream
            total = total + difference.square().sum(-1).mean() / self.variances[number]
            if with_map:
                total = total + recipe.map_weight * divergence(theirs_map[:, self.order[number]], ours_map)
            if recipe.feed_forward or span > 1:
                ours_stream = ours_stream + branch
                ours_stream = ours_stream + ours.mlp(ours.post_attention_layernorm(ours_stream))
            if recipe.feed_forward:
                after = self.streams[number + 1][windows]
                total = total + (ours_stream - after).square().sum(-1).mean() / self.variances[number]
        return total


def rate_at(step, steps):
    return min((step + 1) / 10, 1) * (steps - step) / steps


def trained_parameters(layers, index, recipe, part=""):
    parameters = []
    for number in range(index, index + recipe.span):
        layer = layers.student.model.layers[number]
        for name, parameter in layer.self_attn.named_parameters():
            if part == "keys" and name[0] in "vo" or part == "values" and name[0] in "qk":
                continue
            parameters.append(parameter)
        if recipe.feed_forward:
            parameters += [*layer.mlp.parameters(), *layer.post_attention_layernorm.parameters()]
    return parameters


def train_layer(layers, index, recipe, inputs, seed):
    windows = layers.windows
    if recipe.solve:
        solve_values_and_outputs(layers, index, windows, recipe.solve)
    parameters = trained_parameters(layers, index, recipe)
    generator = torch.Generator().manual_seed(seed * 1000 + index)
    order = torch.cat([windows[:0], *(windows[torch.randperm(len(windows), generator=generator)]
                                      for _ in range(recipe.passes))])
    steps = len(order) // recipe.batch
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0)
    averages = [parameter.detach().clone() for parameter in parameters]
    early = {id(parameter) for parameter in trained_parameters(layers, index, recipe, recipe.first)}
    for parameter in parameters:
        parameter.requires_grad_(True)
    for step in range(steps):
        with_map = recipe.map_weight > 0 and step < recipe.map_share * steps
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * rate_at(step, steps)
        batch = order[step * recipe.batch:(step + 1) * recipe.batch]
        layers.loss(index, recipe.span, recipe, inputs, batch, with_map).backward()
        if recipe.first and step < recipe.first_share * steps:
            for parameter in parameters:
                if id(parameter) not in early:
                    parameter.grad = None
        torch.nn.utils.clip_grad_norm_(parameters, 1)
        optimizer.step()
        optimizer.zero_grad()
        if recipe.ema:
            share = min(recipe.ema, step / (step + 10))
            for average, parameter in zip(averages, parameters):
                average.lerp_(parameter.detach(), 1 - share)
    for average, parameter in zip(averages, parameters):
        parameter.requires_grad_(False)
        if recipe.ema:
            parameter.copy_(average)


def train_layers(layers, recipe, seed, chosen=None):
    """Trains the chosen layers, by default all. Returns each one's error on the source's inputs before and after."""
    inputs, errors = layers.streams[0], []
    for index in range(0, len(layers.variances), recipe.span):
        if recipe.inputs == "source":
            inputs = layers.streams[index]
        if chosen is not None and index not in chosen:
            continue
        before = layers.error(index)
        train_layer(layers, index, recipe, inputs, seed)
        errors.append((before, layers.error(index)))
        if recipe.inputs == "student":
            for number in range(index, index + recipe.span):
                inputs = in_batches(inputs, lambda r: layers.block(layers.student.model.layers[number], r))
    return errors
