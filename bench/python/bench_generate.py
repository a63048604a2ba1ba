"""Generating tokens with transformers and its default cache, which grows by one at each token.

A Llama with random weights generates greedily from a prompt of eight tokens, through eager PyTorch and
through `torch.compile(model, backend="coregrad", dynamic=True)`, in turns, in one process. Lengths are
those of the whole answer; the first token is left out, a warm-up compiles before. Columns: tokens
in a second, their ratio, whether the tokens are the same, and how many graphs compiled.

Needs transformers (`make models` installs it).

Examples:
    python bench/python/bench_generate.py
    python bench/python/bench_generate.py --lengths 128 1024 4096 --rounds 3
    python bench/python/bench_generate.py --json out/bench_generate.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from results import write_json

import coregrad.torch

PROMPT = 8


class Clock(transformers.generation.streamers.BaseStreamer):
    """Notes when the tokens come."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None: ...


def llama(options: argparse.Namespace, longest: int) -> transformers.PreTrainedModel:
    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=options.width,
        intermediate_size=4 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads or options.heads,
        max_position_embeddings=2 * longest,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config).eval()


def generate(model: transformers.PreTrainedModel, length: int) -> tuple[float, list[int]]:
    """Seconds for all tokens but the first, and the tokens."""
    clock = Clock()
    prompt = torch.arange(1, PROMPT + 1)[None]
    tokens = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=length,
        do_sample=False,
        streamer=clock,
    )
    return clock.times[-1] - clock.times[1], tokens[0].tolist()


def measure(
    model: transformers.PreTrainedModel,
    eager: Callable,
    compiled: Callable,
    length: int,
    rounds: int,
) -> dict:
    times: dict[str, list[float]] = {"eager": [], "coregrad": []}
    tokens = {}
    known = len(coregrad.torch.report().graphs)
    for _ in range(rounds):
        for name, forward in ("eager", eager), ("coregrad", compiled):
            model.forward = forward
            seconds, tokens[name] = generate(model, length)
            times[name].append(seconds)
    rate = {name: (length - 1) / statistics.median(t) for name, t in times.items()}
    return {
        "length": length,
        "tokens_per_second": rate,
        "vs_eager": rate["coregrad"] / rate["eager"],
        "same": tokens["eager"] == tokens["coregrad"],
        "compilations": len(coregrad.torch.report().graphs) - known,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, help="as many as heads unless given")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    model = llama(options, max(options.lengths))
    eager = model.forward
    compiled = torch.compile(eager, backend="coregrad", dynamic=True)
    for forward in eager, compiled:
        model.forward = forward
        generate(model, 16)

    print(
        f"{'tokens':>8} {'eager/s':>10} {'coregrad/s':>10} {'x eager':>8} {'same':>6} {'graphs':>7}"
    )
    rows = []
    for length in options.lengths:
        row = measure(model, eager, compiled, length, options.rounds)
        rows.append(row)
        rate = row["tokens_per_second"]
        print(
            f"{length:8} {rate['eager']:10.1f} {rate['coregrad']:10.1f} {row['vs_eager']:8.2f}"
            f" {'yes' if row['same'] else 'no':>6} {row['compilations']:7}",
            flush=True,
        )
    write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
