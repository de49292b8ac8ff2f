"""Measures a GPU: its bfloat16 matrix products; distilled fine-tuning of a LLaMA of width 4096 x 8 layers compared with
Transformers + PyTorch eager, in turns, as a share of those products; and decoding with fewer KV heads.

    build/venv/bin/python tests/bench/gpu_bench.py [--programs build/release/bench] [--sequences 4] [--sequence-length 2048]

Both sides train the same merged student on the same batch, and their losses are compared first. --device cpu with small sizes
only shows that the script works."""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
import transformers

import training_cases
import transformers_side


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=training_cases.ROOT / "build/release/bench")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--sequence-length", type=int, default=2048)
    parser.add_argument("--product-side", type=int, default=8192, help="side of the square matrices that are multiplied")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="steps of one turn, the first of which is not measured")
    return parser.parse_args()


def device_name(device):
    return torch.cuda.get_device_name() if device == "cuda" else training_cases.machine()


def ceiling(device, side):
    """Returns the floating-point operations per second of bfloat16 products of square matrices, the best of 20."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        product = a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    assert product.isfinite().all()
    return 2 * side**3 / best


def flops_per_token(config, kv_heads, length):
    """Counts one forward pass of the teacher and a forward and a backward pass of the student: 2 and 6 for each weight
    of a matrix, and the matrix products of attention, of which only the causal half counts."""
    def weights(heads):
        attention = 2 * config.hidden_size**2 + 2 * config.hidden_size * heads * config.head_dim
        block = attention + 3 * config.hidden_size * config.intermediate_size
        return config.num_hidden_layers * block + config.vocab_size * config.hidden_size

    attention = config.num_hidden_layers * 2 * length * config.hidden_size
    return 2 * weights(config.num_key_value_heads) + attention + 3 * (2 * weights(kv_heads) + attention)


def compare(arguments, model, folder):
    """Measures the seconds per step of Regroup and of Transformers."""
    config = transformers.AutoConfig.from_pretrained(model)
    batch = training_cases.write_batch(folder / "batch.jsonl", arguments.sequences, arguments.sequence_length,
                                       config.vocab_size)
    rate, dtype = 1e-5, "bfloat16"
    options = {"model": model, "data": folder / "batch.jsonl", "dtype": dtype, "device": arguments.device,
               "kv-heads": arguments.kv_heads, "sequence-length": arguments.sequence_length,
               "sequences-per-rank": arguments.sequences, "steps": arguments.steps, "learning-rate": rate}
    ours, theirs = [], []
    for turn in range(arguments.turns):
        # One side runs at a time, since each may need most of the memory.
        my_steps = training_cases.run_product(arguments.programs / "train_steps", folder / "curves.jsonl",
                                              torch.get_num_threads(), options)
        side = transformers_side.TransformersSide(model, arguments.kv_heads, torch.bfloat16, batch, rate, arguments.steps,
                                                  arguments.device)
        other_steps = [side.step() for _ in range(arguments.steps)]
        del side
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
        if turn == 0:
            training_cases.check_losses(my_steps, other_steps, dtype)
        ours += training_cases.step_seconds(my_steps)
        theirs += training_cases.step_seconds(other_steps)
    return ours, theirs


def print_side(name, seconds, tokens, flops, limit):
    rate = tokens / statistics.median(seconds)
    print(f"  {name:<13} {training_cases.spread(seconds)}, {rate:.0f} tokens/s, {flops * rate / 1e12:.1f} TFLOP/s, MFU "
          f"{100 * flops * rate / limit:.1f} %")
    return rate


def main():
    arguments = parse_arguments()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    limit = ceiling(arguments.device, arguments.product_side)
    print(f"{device_name(arguments.device)}; torch {torch.__version__}, Transformers {transformers.__version__}")
    print(f"bfloat16 products of {arguments.product_side} x {arguments.product_side}: {limit / 1e12:.1f} TFLOP/s\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        model = training_cases.write_wide_model(
            folder / "model", torch.bfloat16, hidden_size=arguments.width, num_hidden_layers=arguments.layers,
            num_attention_heads=arguments.heads, num_key_value_heads=arguments.heads,
            head_dim=arguments.width // arguments.heads, intermediate_size=arguments.width * 11 // 4 // 128 * 128)
        print(f"LLaMA of width {arguments.width} x {arguments.layers} layers, {arguments.kv_heads} of {arguments.heads} KV heads, "
              f"bfloat16, {arguments.sequences} x {arguments.sequence_length} tokens")
        ours, theirs = compare(arguments, model, folder)
        flops = flops_per_token(transformers.AutoConfig.from_pretrained(model), arguments.kv_heads, arguments.sequence_length)
    tokens = arguments.sequences * arguments.sequence_length
    mine = print_side("Regroup", ours, tokens, flops, limit)
    other = print_side("Transformers", theirs, tokens, flops, limit)
    print(f"  ratio of tokens/s {mine / other:.3f}\n", flush=True)
    if arguments.device == "cuda":
        subprocess.run([arguments.programs / "decode_bench", "8", "2048", "32", "cuda"], check=True)


if __name__ == "__main__":
    main()
