"""A graph and its inputs as a Python script that shows a mismatch: it exits with 1 if there is one."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from .judge import Slack
from .subgraph import judge

MAX_LITERAL = 64  # elements of an input that are written out


def reproduce(
    function: Callable[..., Any], inputs: Sequence[Any], slack: Slack | None = None
) -> int:
    """Compiles a function of ATen operators, judges its results, prints them; 1 if one is wrong."""
    with torch.no_grad():
        traced = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    measures = judge(traced, list(inputs), slack)
    for number, found in enumerate(measures):
        print(f"result {number}: {found.wrong or 'right'}")
    return int(any(found.wrong is not None for found in measures))


def reproducing_script(
    module: GraphModule, inputs: Sequence[Any], place: str, message: str, slack: Slack
) -> str:
    """The script; its inputs are random numbers where those show the mismatch too."""
    chosen = _random_inputs(inputs)
    if not any(found.wrong is not None for found in judge(module, [v for v, _ in chosen], slack)):
        chosen = [(v, _literal(v)) for v in inputs]
    names = [n.name for n in module.graph.find_nodes(op="placeholder")]
    body = module.graph.python_code("self").src
    body = body.replace("def forward(self, ", "def function(").replace(
        "forward(self)", "function()"
    )
    lines = [
        f'"""{place}: {message}."""',
        "",
        "import sys",
        "from math import inf, nan  # noqa: F401",
        "",
        "import torch",
        "from torch import device  # noqa: F401",
        "from torch.testing import make_tensor  # noqa: F401",
        "",
        "import coregrad.torch",
        "from coregrad.torch.parity.script import reproduce, unpack  # noqa: F401",
        "",
        "torch.manual_seed(0)",
        "inputs = [",
        *(f"    {text},  # {name}" for name, (_, text) in zip(names, chosen)),
        "]",
        "",
        "",
        textwrap.dedent(body).strip(),
        "",
        "",
        f"sys.exit(reproduce(function, inputs, {slack!r}))",
        "",
    ]
    return "\n".join(lines)


def unpack(text: str) -> torch.Tensor:
    """The tensor that a script carries."""
    return torch.load(io.BytesIO(base64.b64decode(text)), weights_only=True)


def _random_inputs(inputs: Sequence[Any]) -> list[tuple[Any, str]]:
    """Values like the inputs, and the expressions that make them after torch.manual_seed(0)."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    made: list[tuple[Any, str]] = []
    for value in inputs:
        if not isinstance(value, torch.Tensor):
            made.append((value, repr(value)))
            continue
        text = f"torch.randn({list(value.shape)}, dtype={value.dtype})"
        if not value.is_floating_point():  # indices must stay in range
            made.append((value, _literal(value)))
            continue
        if not value.is_contiguous():
            text = f"torch.empty_strided({list(value.shape)}, {list(value.stride())}, "
            text += f"dtype={value.dtype}).normal_()"
        made.append((eval(text, {"torch": torch}), text))
    torch.set_rng_state(state)
    return made


def _literal(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return repr(value)
    if value.numel() <= MAX_LITERAL and value.is_contiguous():
        numbers = repr(value.tolist())
        return f"torch.tensor({numbers}, dtype={value.dtype}).reshape({list(value.shape)})"
    stream = io.BytesIO()
    torch.save(value.detach().clone(memory_format=torch.preserve_format), stream)
    return f'unpack("{base64.b64encode(stream.getvalue()).decode()}")'
