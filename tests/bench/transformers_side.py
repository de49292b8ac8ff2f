"""Runs an optimizer step of distillation with Transformers and PyTorch in eager mode, as the product's `direct` does: the
same averaged KV heads, batch, loss, clipping, AdamW, rates and precision. In bfloat16 weights and activations are
bfloat16 and AdamW works on float32 master weights."""

import copy
import math
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

CLIP_NORM = 1.0
WEIGHT_DECAY = 1e-4
SHARED_RATE = 2.0


def average_neighbours(weight, kv_heads, head_width):
    """Maps [H d, D] to [G d, D]: the mean of each group of neighbouring heads."""
    return weight.view(kv_heads, -1, head_width, weight.shape[1]).mean(1).flatten(0, 1)


def merged_model(source, kv_heads):
    """Returns the same weights in a model whose config.json has `kv_heads` KV heads."""
    config = copy.deepcopy(source.config)
    config.num_key_value_heads = kv_heads
    weights = {
        name: average_neighbours(tensor, kv_heads, config.head_dim)
        if name.endswith(("k_proj.weight", "v_proj.weight")) else tensor
        for name, tensor in source.state_dict().items()
    }
    student = AutoModelForCausalLM.from_config(config)
    student.load_state_dict(weights)
    return student


def rate_at(step, peak, steps):
    """trainer/optim/schedule.h"""
    warm_up = min(32, max(1, steps // 4))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))


class TransformersSide:
    def __init__(self, model, kv_heads, dtype, batch, learning_rate, steps, device="cpu"):
        source = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.student = merged_model(source, kv_heads).to(device, dtype).train()
        self.teacher = source.to(device, dtype).eval().requires_grad_(False)
        self.batch = batch.to(device) if batch is not None else None
        self.learning_rate = learning_rate
        self.steps = steps
        self.parameters = list(self.student.parameters())
        self.has_masters = dtype != torch.float32
        self.masters = [p.detach().float().clone() for p in self.parameters] if self.has_masters else self.parameters
        self.optimizer = self.make_optimizer()
        self.done = 0

    def make_optimizer(self):
        shared, base = [], []
        for (name, _), master in zip(self.student.named_parameters(), self.masters):
            (shared if ".k_proj." in name or ".v_proj." in name else base).append(master)
        return torch.optim.AdamW([{"params": base}, {"params": shared}], betas=(0.9, 0.95), eps=1e-8,
                                 weight_decay=WEIGHT_DECAY, fused=True)

    def loss(self):
        with torch.no_grad():
            log_p = F.log_softmax(self.teacher(self.batch, use_cache=False).logits.float(), -1)
        log_q = F.log_softmax(self.student(self.batch, use_cache=False).logits.float(), -1)
        return F.kl_div(log_q, log_p, reduction="sum", log_target=True) / self.batch.numel()

    def update(self):
        if self.has_masters:
            for master, parameter in zip(self.masters, self.parameters):
                master.grad = parameter.grad.float()
                parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, CLIP_NORM)
        rate = rate_at(self.done, self.learning_rate, self.steps)
        for group, ratio in zip(self.optimizer.param_groups, (1.0, SHARED_RATE)):
            group["lr"] = rate * ratio
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.has_masters:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.masters)

    def synchronise(self):
        if self.parameters[0].is_cuda:
            torch.cuda.synchronize()

    def step(self):
        """Returns {"loss": ..., "step_seconds": ...}, like a line of the product's curves.jsonl."""
        start = time.perf_counter()
        loss = self.loss()
        loss.backward()
        self.update()
        self.done += 1
        value = loss.item()
        self.synchronise()
        return {"loss": value, "step_seconds": time.perf_counter() - start}
