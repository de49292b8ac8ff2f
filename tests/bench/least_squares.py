"""A closed-form start of a merged attention layer, which layerwise_research.py compares with the plain one."""

import torch


def solve_values_and_outputs(layers, index, windows, sweeps):
    """Alternating least squares: the attention's output is linear in W_o, and in W_v, while its probabilities stand."""
    ours, streams = layers.student.model.layers[index], layers.streams[index][windows]
    target = layers.targets(index, windows)
    with torch.no_grad():
        for _ in range(sweeps):
            solve_outputs(layers, ours, streams, target)
            # The normal equations of all W_v at once, solved by conjugate gradients with the network as the product.
            solve_values(layers, ours, streams, target)
        solve_outputs(layers, ours, streams, target)


def mixed_rows(layers, ours, streams):
    """Returns what o_proj reads, as rows."""
    caught = []
    hook = ours.self_attn.o_proj.register_forward_hook(lambda _, rows, __: caught.append(rows[0].flatten(0, 1)))
    for place in range(0, len(streams), 8):
        layers.branch(ours, streams[place:place + 8])
    hook.remove()
    return torch.cat(caught)


def solve_outputs(layers, ours, streams, target):
    rows = mixed_rows(layers, ours, streams).double()
    gram = rows.T @ rows
    gram += torch.eye(len(gram)) * gram.trace() * 1e-6 / len(gram)
    solution = torch.linalg.solve(gram, rows.T @ target.flatten(0, 1).double())
    ours.self_attn.o_proj.weight.copy_(solution.T)


def solve_values(layers, ours, streams, target, iterations=12):
    weight = ours.self_attn.v_proj.weight
    start = weight.clone()

    def gradient():
        with torch.enable_grad():
            weight.requires_grad_(True)
            total = 0
            for place in range(0, len(streams), 8):
                difference = layers.branch(ours, streams[place:place + 8])[0] - target[place:place + 8]
                total = total + torch.autograd.grad(difference.square().sum(), weight)[0]
        return total

    residual = -gradient()
    zero_gradient = residual.clone()
    direction, step = residual.clone(), torch.zeros_like(weight)
    for _ in range(iterations):
        weight.copy_(start + direction)
        product = gradient() + zero_gradient
        alpha = (residual * residual).sum() / (direction * product).sum()
        step += alpha * direction
        smaller = residual - alpha * product
        direction = smaller + (smaller * smaller).sum() / (residual * residual).sum() * direction
        residual = smaller
    weight.copy_(start + step)
