"""Recomputes plain averaging of heads with NumPy in float64."""

import math

import numpy as np
import torch

from regroup_programs import config_of, weights_of


def round_to(values, dtype):
    """Rounds float64 to the nearest value of the storage type."""
    if dtype == torch.float16:
        return torch.from_numpy(values.astype(np.float16))
    return torch.from_numpy(values.astype(np.float32)).to(dtype)


def check_plain_average(source_folder, folder, kv_heads):
    """Checks that neighbouring heads are averaged in float64 and rounded once, and all other weights are unchanged."""
    config, source, result = config_of(source_folder), weights_of(source_folder), weights_of(folder)
    heads, width = config["num_key_value_heads"], config["head_dim"]
    assert set(source) == set(result)
    merged = 0
    for name, before in source.items():
        expected = before
        if "k_proj" in name or "v_proj" in name:
            copies = math.lcm(heads, kv_heads) // heads
            rows = before.double().numpy().reshape(heads, width, -1).repeat(copies, axis=0)
            rows = rows.reshape(kv_heads, heads * copies // kv_heads, width, -1)
            expected = round_to(rows.sum(axis=1) / rows.shape[1], before.dtype).reshape(result[name].shape)
            merged += 1
        assert result[name].dtype == before.dtype, name
        assert torch.equal(result[name], expected), (name, (result[name].float() - expected.float()).abs().max())
    assert merged >= 4
