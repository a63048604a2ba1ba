"""Models of Hugging Face transformers, compiled once for all sizes and called with five.

    make models RESIZED=1
    python tests/python/models_resized_run.py bert resnet

Batch, length and image change from call to call. Outputs and gradients of parameters are judged by
eager and by eager in float64, as in the parity command, which allows for models that lose the digits
themselves (a batch norm over two values). Sizes that eager refuses for a model (a ViT has
one image size) are taken as the model's own.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
import transformers_models
from torch import nn

import coregrad.torch
from coregrad.torch.backend import CompilerFaultWarning
from coregrad.torch.parity.examination import INNER_ROUNDINGS, MOVES, moved
from coregrad.torch.parity.judge import cotangents, distance, measure
from coregrad.torch.parity.models import Subject
from coregrad.torch.parity.tolerances import SLACK

#: Parts of a value's limit beyond the table's: sums of whole models round more than one operator's.
SLACK_FACTOR = 4

#: With images of symbolic size PyTorch's own tracing takes more than minutes, with any backend.
FIXED_IMAGES = ("swin",)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of a call: how many rows, and how long, or how large, they are as parts of the model's own."""

    batch: int
    length: float
    image: float


SIZES = (Sizes(2, 1, 1), Sizes(3, 0.5, 1.5), Sizes(5, 2, 1), Sizes(4, 1.25, 2), Sizes(2, 0.75, 1.5))


def names() -> list[str]:
    return [
        name
        for name, function in inspect.getmembers(transformers_models, inspect.isfunction)
        if not inspect.signature(function).parameters
    ]


def resized(inputs: Sequence[torch.Tensor], sizes: Sizes, seed: int) -> list[torch.Tensor]:
    """Inputs like the given ones, of other sizes: tokens, masks, images, signals or features."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for x in inputs:
        shape = [sizes.batch, *x.shape[1:]]
        if x.ndim == 4:
            shape[2:] = [int(n * sizes.image) for n in shape[2:]]
        elif x.ndim == 2:
            shape[1] = int(shape[1] * sizes.length)
        if x.is_floating_point():
            made.append(torch.randn(shape, generator=generator))
        elif int(x.max()) > 1:
            made.append(
                torch.randint(3, transformers_models.VOCABULARY, shape, generator=generator)
            )
        else:
            mask = torch.ones(shape, dtype=x.dtype)
            mask[0, -min(5, shape[1] - 1) :] = 0
            made.append(mask)
    return made


def run(model: nn.Module, call: Callable, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The output and the gradients of all parameters."""
    dtype = next(model.parameters()).dtype
    output = call(*(x.to(dtype) if x.is_floating_point() else x for x in inputs))
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad([output], parameters, cotangents([output]), allow_unused=True)
    return [output.detach(), *(g for g in gradients if g is not None)]


def in_float64(wide: nn.Module, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
    """What eager makes of a model in float64; None if it does not run it so."""
    try:
        return run(wide, wide, inputs)
    except RuntimeError:
        return None


def calls(
    model: nn.Module, inputs: Sequence[torch.Tensor], has_fixed_images: bool
) -> Iterator[list[torch.Tensor]]:
    """Inputs of all sizes that eager takes."""
    for seed, sizes in enumerate(SIZES):
        if has_fixed_images:
            sizes = dataclasses.replace(sizes, image=1)
        for possible in (sizes, dataclasses.replace(sizes, length=1, image=1)):
            given = resized(inputs, possible, seed)
            try:
                with torch.no_grad():
                    model(*given)
            except (RuntimeError, ValueError, IndexError):
                continue
            if has_fixed_images:
                for x in given:
                    torch._dynamo.mark_static(x, [2, 3])
            yield given
            break


def difference(
    got: Sequence[torch.Tensor],
    eager: Sequence[torch.Tensor],
    exact: Sequence[torch.Tensor],
    slack: tuple[float, float],
    sensitivity: Sequence[float] | None = None,
) -> str | None:
    """The first value that is wrong."""
    if len(got) != len(eager):
        return f"{len(got)} values for {len(eager)}"
    given = zip(got, eager, exact, sensitivity or [0.0] * len(got), strict=True)
    for number, (value, eager_value, exact_value, sensitive) in enumerate(given):
        if wrong := measure(value, eager_value, exact_value, slack, sensitive).wrong:
            return f"value {number}: {wrong}"
    return None


def sensitivities(
    wide: nn.Module, inputs: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]
) -> list[float]:
    """How far each value of a model in float64 moves with the last place of inputs and parameters."""
    largest = [0.0] * len(exact)
    for seed in range(MOVES):
        near = moved(Subject(wide, tuple(inputs)), torch.finfo(torch.float32).eps / 2, seed)
        values = run(near.model, near.model, near.inputs)
        largest = [max(s, distance(*v)) for s, *v in zip(largest, values, exact, strict=True)]
    return largest


def examine(name: str) -> tuple[str, str]:
    """What became of a model, and a line about it."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    coregrad.torch.reset()
    model, inputs = getattr(transformers_models, name)()
    model = model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    compiled = torch.compile(model, backend="coregrad", dynamic=True)
    absolute, relative = SLACK[torch.float32]
    slack = (SLACK_FACTOR * absolute, SLACK_FACTOR * relative)
    count = unstable = 0
    for given in calls(model, inputs, name in FIXED_IMAGES):
        state = copy.deepcopy(model.state_dict())
        eager = run(model, model, given)
        model.load_state_dict(state)  # running statistics
        got = run(model, compiled, given)
        model.load_state_dict(state)
        count += 1
        wide = copy.deepcopy(model).double()
        exact = in_float64(wide, given)
        # Without float64 eager's own error is unknown, and may be as large as ours.
        message = (
            difference(got, eager, eager, (2 * slack[0], 2 * slack[1]))
            if exact is None
            else difference(got, eager, exact, slack)
        )
        if message is None:
            continue
        if exact is None:
            return "wrong", f"{message}; there is no float64 reference"
        shapes = ", ".join(str(list(x.shape)) for x in given)
        # As in the parity command: does the model lose the digits, or the compiler?
        wide = copy.deepcopy(model).double()
        sensitivity = sensitivities(wide, given, exact)
        compiled_wide = torch.compile(wide, backend="coregrad", dynamic=True)
        message_wide = difference(
            run(wide, compiled_wide, given),
            exact,
            exact,
            SLACK[torch.float64],
            [s / 1000 for s in sensitivity],
        )
        if message_wide is not None:
            return "wrong", f"{shapes}, {message}; in float64 {message_wide}"
        allowed = [INNER_ROUNDINGS * s for s in sensitivity]
        if message := difference(got, eager, exact, slack, allowed):
            return "wrong", f"{shapes}, {message}, though right in float64"
        unstable += 1
    graphs = coregrad.torch.report().graphs
    templates = sum(g.sizes_bound is not None for g in graphs)
    line = f"{count} sizes, {len(graphs)} compilations, {templates} of them for symbols"
    return "right", line + (f"; {unstable} ill-conditioned" if unstable else "")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", choices=[[], *names()], help="all of them if none")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", CompilerFaultWarning)
    outcomes: dict[str, int] = {}
    for name in options.models or names():
        start = time.perf_counter()
        try:
            outcome, line = examine(name)
        except Exception as error:
            outcome, line = "error", f"{type(error).__name__}: {str(error).splitlines()[0]}"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        print(f"{name:16} {outcome:6} {time.perf_counter() - start:5.0f} s  {line}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return 0 if set(outcomes) == {"right"} else 1


if __name__ == "__main__":
    sys.exit(main())
