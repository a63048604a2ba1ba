"""Random PyTorch programs: seeds to source text. `random_programs_run.py` runs and judges them.

A seed gives a `Program`: the text of a function, and expressions that make its inputs. Start with
`generate`. So that a difference means a fault, and not rounding, operations that jump or have kinks
(comparisons, maxima, sorting, conversions to integers) read only *exact* values: inputs, integers,
and what data movement makes of them.
"""

from __future__ import annotations

import dataclasses
import random
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

MAX_ELEMENTS = 3000
MAX_ELEMENTS_LARGE = 150_000
MAX_MAGNITUDE = 300.0
MAX_INTEGER = 1 << 20

# Inputs


def make_input(
    shape: Sequence[int], dtype: torch.dtype, content: str, layout: str, seed: int
) -> torch.Tensor:
    """A tensor of random numbers; the arguments stand in the printed program."""
    generator = torch.Generator().manual_seed(seed)
    stored = list(shape)
    if layout == "transposed" and len(stored) > 1:
        stored = stored[::-1]
    elif layout == "sliced" and stored:
        stored[-1] = 2 * stored[-1] + 1
    elif layout == "expanded" and stored:
        stored[0] = 1
    x = _content(stored, dtype, content, generator)
    if layout == "transposed" and len(stored) > 1:
        x = x.permute(*reversed(range(len(stored))))
    elif layout == "sliced" and stored:
        x = x[..., 1::2]
    elif layout == "expanded" and stored:
        x = x.expand(shape)
    return x


def _content(
    shape: list[int], dtype: torch.dtype, content: str, generator: torch.Generator
) -> torch.Tensor:
    if dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if not dtype.is_floating_point:
        return torch.randint(-9, 10, shape, generator=generator, dtype=dtype)
    if content == "ties":
        return torch.randint(-2, 3, shape, generator=generator).to(dtype)
    x = torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
    if content == "special":
        values = [float("nan"), float("inf"), -float("inf"), -0.0, 1e-40, -3e-42, 0.0, 1e15]
        chosen = torch.randint(0, len(values), shape, generator=generator)
        rare = torch.rand(shape, generator=generator) < 0.15
        x = torch.where(rare, torch.tensor(values, dtype=torch.float32).to(dtype)[chosen], x)
    return x


# Programs


@dataclasses.dataclass
class Program:
    """A function of tensors as text, and what makes its inputs."""

    inputs: dict[str, str]  #: name -> expression
    wants_grad: set[str]  #: names of inputs
    lines: list[str]
    outputs: list[str]
    grad: bool  #: else under no_grad

    @property
    def intermediates(self) -> list[str]:
        """The names of all values that lines give a name to."""
        return [line.split(" = ")[0] for line in self.lines if re.match(r"v\d+ = ", line)]

    def source(self) -> str:
        body = "".join(f"    {line}\n" for line in self.lines)
        outputs = "".join(f"{name}, " for name in self.outputs).strip()
        return f"def program({', '.join(self.inputs)}):\n{body}    return ({outputs})\n"

    def text(self) -> str:
        """All of it for people and for `parse`."""
        makes = "".join(
            f"{name} = {text}{'.requires_grad_()' if name in self.wants_grad else ''}\n"
            for name, text in self.inputs.items()
        )
        return ("" if self.grad else "# under torch.no_grad()\n") + makes + self.source()

    def function(self, wide: bool = False) -> Callable:
        """The function; `wide` in float64 throughout."""
        source = self.source()
        if wide:
            source = source.replace("torch.float32", "torch.float64")
        space: dict[str, Any] = {"torch": torch, "F": F}
        exec(compile(source, "<random program>", "exec"), space)
        return space["program"]

    def make_inputs(self) -> list[torch.Tensor]:
        space = {"torch": torch, "make_input": make_input}
        return [eval(text, space) for text in self.inputs.values()]


def parse(text: str) -> Program:
    """The program that `Program.text` gave."""
    program = Program({}, set(), [], [], "# under torch.no_grad()" not in text)
    for line in text.splitlines():
        if line.startswith("x"):
            name, made = line.split(" = ", 1)
            program.inputs[name] = made.removesuffix(".requires_grad_()")
            if made != program.inputs[name]:
                program.wants_grad.add(name)
        elif line.startswith("    return "):
            program.outputs = re.findall(r"\w+", line.removeprefix("    return "))
        elif line.startswith("    "):
            program.lines.append(line.strip())
    return program


@dataclasses.dataclass
class Value:
    name: str
    tensor: torch.Tensor
    exact: bool

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    @property
    def shape(self) -> list[int]:
        return list(self.tensor.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype.is_floating_point

    @property
    def is_int(self) -> bool:
        return self.dtype in (torch.int32, torch.int64)


def _broadcast(a: Value, b: Value) -> bool:
    pairs = zip(reversed(a.shape), reversed(b.shape))
    return all(m == n or 1 in (m, n) for m, n in pairs)


class NoSuchValue(Exception):
    """No value that an operation could read."""


class Generator:
    """Writes one program, running it in eager line by line to know shapes and to avoid errors."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.r = random.Random(seed)
        self.space: dict[str, Any] = {"torch": torch, "F": F}
        self.values: list[Value] = []
        self.lines: list[str] = []
        self.is_special = self.r.random() < 0.12
        is_large = seed % 20 == 19  # large enough for steps to be shared among threads
        self.max_elements = MAX_ELEMENTS_LARGE if is_large else MAX_ELEMENTS
        sizes = [31, 64, 100, 129, 200] if is_large else [1, 2, 3, 4, 5, 7, 8, 9, 16, 17]
        self.sizes = [self.r.choice(sizes) for _ in range(3)]
        if self.r.random() < 0.06:
            self.sizes[0] = 0
        if self.r.random() < 0.1:
            self.sizes[self.r.randrange(3)] = self.r.choice([33, 64, 100, 129])

    # Choices

    def pick(self, *tests: Callable[[Value], bool]) -> Value:
        found = [v for v in self.values if all(test(v) for test in tests)]
        if not found:
            raise NoSuchValue
        if self.r.random() < 0.5:  # chains of operations are what fusion is about
            found = found[-4:]
        return self.r.choice(found)

    def floats(self, *tests: Callable[[Value], bool]) -> Value:
        return self.pick(lambda v: v.is_float, *tests)

    def exact(self, *tests: Callable[[Value], bool]) -> Value:
        return self.pick(lambda v: v.exact, *tests)

    def like(self, x: Value, *tests: Callable[[Value], bool]) -> Value:
        """A value that broadcasts with another."""
        return self.pick(lambda v: _broadcast(v, x), lambda v: v.is_float == x.is_float, *tests)

    def mask(self, x: Value) -> Value:
        """A bool that broadcasts with a value."""
        return self.pick(lambda v: _broadcast(v, x), lambda v: v.dtype is torch.bool)

    def dim(self, x: Value) -> int:
        if not x.shape:
            raise NoSuchValue
        return self.r.randrange(-len(x.shape), len(x.shape))

    def number(self) -> str:
        return self.r.choice(["0.5", "2", "-1.5", "3", "0.1", "1"])

    def carve(self, x: Value, shape: Sequence[int]) -> str:
        """An expression for a tensor of any shape, made of a value's first elements."""
        count = 1
        for n in shape:
            count *= n
        if count > x.tensor.numel():
            raise NoSuchValue
        return f"{x.name}.flatten()[:{count}].reshape({list(shape)})"

    def index(self, size: int, *tests: Callable[[Value], bool]) -> tuple[Value, str]:
        """A value of integers, and an expression of indices into `size` elements."""
        if not size:
            raise NoSuchValue
        # A number as an index makes AOTAutograd give up.
        i = self.pick(lambda v: v.dtype is torch.int64 and bool(v.shape), *tests)
        return i, f"{i.name} % {size}" + (f" - {size}" if self.r.random() < 0.15 else "")

    # Building

    def add(self, text: str, exact: bool) -> None:
        """Runs a line `name = text` and keeps it unless its value is of no use."""
        name = f"v{len(self.lines)}"
        value = eval(text, self.space)
        if not isinstance(value, torch.Tensor) or value.numel() > self.max_elements:
            raise NoSuchValue
        if value.dtype not in (torch.float32, torch.float64, torch.int32, torch.int64, torch.bool):
            raise NoSuchValue
        exact = exact or value.dtype is torch.bool or not value.is_floating_point()
        self._require_tame(value, exact)
        self.space[name] = value
        self.lines.append(f"{name} = {text}")
        self.values.append(Value(name, value, exact))

    def _require_tame(self, value: torch.Tensor, exact: bool) -> None:
        if not value.numel() or value.dtype is torch.bool:
            return
        if not value.is_floating_point():
            if value.abs().max().item() > MAX_INTEGER:
                raise NoSuchValue
            return
        if not self.is_special and not (
            value.isfinite().all() and value.abs().max().item() < MAX_MAGNITUDE
        ):
            raise NoSuchValue

    def write(self, x: Value, text: str, exact: bool) -> None:
        """Runs a statement that changes a value in place, on a copy first."""
        trial = dict(self.space)
        memo = {v.name: v.tensor.clone() for v in self.values}
        trial.update(memo)
        exec(text, trial)
        self._require_tame(trial[x.name], exact)
        exec(text, self.space)
        self.lines.append(text)
        storage = x.tensor.untyped_storage()._cdata
        for v in self.values:
            if v.tensor.untyped_storage()._cdata == storage and v.is_float:
                v.exact = v.exact and exact

    def generate(self) -> Program:
        inputs, wants_grad = self._inputs()
        wanted = self.r.randint(3, 24)
        fails = 0
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while len(self.lines) < wanted and fails < 400:
                state = len(self.lines)
                try:
                    self.r.choices(OPERATIONS, WEIGHTS)[0](self)
                except (NoSuchValue, RuntimeError, IndexError, ValueError, TypeError):
                    assert len(self.lines) == state
                    fails += 1
        names = [v.name for v in self.values]
        outputs = [self.values[-1].name]
        for _ in range(self.r.randint(0, 3)):
            outputs.append(self.r.choice(names))
        if self.r.random() > 0.05:
            outputs = list(dict.fromkeys(outputs))
        return Program(inputs, wants_grad, self.lines, outputs, self.r.random() < 0.7)

    def _inputs(self) -> tuple[dict[str, str], set[str]]:
        inputs: dict[str, str] = {}
        wants_grad: set[str] = set()
        main = self.r.choice([torch.float32, torch.float32, torch.float32, torch.float64])
        others = [main, torch.float64, torch.float32, torch.int64, torch.int32, torch.bool]
        count = self.r.randint(1, 3)
        kinds = [main, main, *self.r.choices(others, [4, 1, 1, 3, 1, 2], k=count)]
        for number, dtype in enumerate(kinds):
            rank = self.r.choices([0, 1, 2, 3, 4], [1, 3, 5, 4, 1])[0]
            shape = [self.r.choice(self.sizes) for _ in range(rank)]
            if shape and self.r.random() < 0.2:
                shape[self.r.randrange(rank)] = 1
            while _product(shape) > self.max_elements:
                shape.pop()
            content = "special" if self.is_special else self.r.choice(["normal"] * 3 + ["ties"])
            layout = self.r.choices(
                ["contiguous", "transposed", "sliced", "expanded"], [6, 2, 1, 1]
            )[0]
            text = f"make_input({shape}, {dtype}, {content!r}, {layout!r}, {number})"
            value = make_input(shape, dtype, content, layout, number)
            name = f"x{number}"
            inputs[name] = text
            if dtype.is_floating_point and layout != "expanded" and self.r.random() < 0.7:
                wants_grad.add(name)
            self.space[name] = value
            self.values.append(Value(name, value, True))
        return inputs, wants_grad


def _product(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


# Operations: each adds one line, or raises

OPERATIONS: list[Callable[[Generator], None]] = []
WEIGHTS: list[float] = []


def operation(
    weight: float,
) -> Callable[[Callable[[Generator], None]], Callable[[Generator], None]]:
    def register(function: Callable[[Generator], None]) -> Callable[[Generator], None]:
        OPERATIONS.append(function)
        WEIGHTS.append(weight)
        return function

    return register


SMOOTH = (
    *("torch.sin({x})", "torch.cos({x})", "torch.tanh({x})", "torch.sigmoid({x})"),
    *("torch.erf({x})", "torch.exp(torch.tanh({x}))", "torch.expm1(torch.tanh({x}))"),
    *("torch.log1p({x}.square())", "torch.sqrt({x}.square() + 0.1)", "F.gelu({x})"),
    *("torch.rsqrt({x}.square() + 0.1)", "F.gelu({x}, approximate='tanh')", "F.silu({x})"),
    *("F.softplus({x})", "F.mish({x})", "torch.atan({x})", "torch.asinh({x})"),
    *("torch.log({x}.square() + 0.1)", "{x}.square()", "{x} ** 3", "torch.exp2(torch.sin({x}))"),
    *("({x}.square() + 0.1) ** 1.5", "torch.reciprocal({x}.square() + 0.5)", "F.logsigmoid({x})"),
    *("torch.sinh(torch.tanh({x}))", "torch.cosh(torch.tanh({x}))", "torch.erfc({x})"),
    *("torch.tan(torch.sin({x}))", "torch.asin(torch.sin({x}) * 0.9)", "torch.sinc({x})"),
    *("torch.logit(torch.sigmoid({x}) * 0.8 + 0.1)", "torch.deg2rad({x})", "{x}.rad2deg() * 0.01"),
    *("torch.log2({x}.square() + 0.5)", "torch.log10({x}.square() + 0.5)", "-{x}", "{x} * 1.0"),
)
KINKED = (
    *("F.relu({x})", "torch.abs({x})", "F.leaky_relu({x}, 0.1)", "torch.clamp({x}, -0.5, 1.0)"),
    *("F.hardtanh({x})", "F.relu6({x})", "F.hardswish({x})", "F.hardsigmoid({x})", "F.elu({x})"),
    *("torch.sign({x})", "torch.floor({x})", "torch.ceil({x})", "torch.round({x})", "F.celu({x})"),
    *("torch.trunc({x})", "torch.frac({x})", "F.selu({x})", "torch.clamp({x}, min=0.25)"),
    *("torch.heaviside({x}, {x})", "torch.nan_to_num({x}, 0.5, 2.0, -2.0)", "F.softsign({x})"),
    *("F.softshrink({x})", "F.hardshrink({x})", "F.tanhshrink({x})", "F.threshold({x}, 0.1, 2.0)"),
    *("torch.sgn({x})", "torch.positive({x})", "torch.clamp_max({x}, 0.3)"),
)
EXACT_RESULT = (
    *("relu(", "abs(", "clamp", "hardtanh", "relu6", "sign(", "floor", "ceil", "round", "trunc"),
    *("sgn", "positive", "nan_to_num", "threshold"),
)


@operation(9)
def smooth(g: Generator) -> None:
    g.add(g.r.choice(SMOOTH).format(x=g.floats().name), False)


@operation(3)
def kinked(g: Generator) -> None:
    text = g.r.choice(KINKED)
    is_exact = any(name in text for name in EXACT_RESULT) and "leaky" not in text
    is_exact = is_exact and not any(c in text for c in ("0.5", "0.25", "0.1", "0.3"))
    x = g.exact(lambda v: v.is_float)
    if "hardsigmoid" in text and x.dtype is torch.float64:
        raise NoSuchValue  # eager's gradient has 1/6 in float32
    g.add(text.format(x=x.name), is_exact)


@operation(8)
def binary(g: Generator) -> None:
    x = g.floats()
    y = g.like(x)
    text = g.r.choice(
        ["{x} + {y}", "{x} - {y}", "{x} * {y}", "{x} / ({y}.square() + 0.5)"] * 3
        + [
            "torch.add({x}, {y}, alpha=0.5)",
            "torch.sub({x}, {y}, alpha=2)",
            "torch.rsub({x}, {y})",
            "torch.lerp({x}, {y}.to({x}.dtype), 0.3)",
            "torch.addcmul({x}, {y}.to({x}.dtype), {x}, value=0.5)",
            "torch.addcdiv({x}, {x}, {y}.to({x}.dtype).square() + 1, value=0.5)",
            "torch.logaddexp({x}, {y}.to({x}.dtype))",
            "torch.hypot({x}, {y}.to({x}.dtype).square() + 1)",
            "torch.atan2({x}, {y}.to({x}.dtype).square() + 1)",
            "torch.pow({x}.square() + 0.5, torch.tanh({y}))",
            "torch.xlogy({x}, {y}.square() + 1)",
        ]
    )
    g.add(text.format(x=x.name, y=y.name), False)


@operation(4)
def with_number(g: Generator) -> None:
    text = g.r.choice(["{x} + {n}", "{n} - {x}", "{x} * {n}", "{x} / {n}", "{x} - {n}"])
    g.add(text.format(x=g.floats().name, n=g.number()), False)


@operation(2)
def mixed_types(g: Generator) -> None:
    x = g.floats()
    y = g.pick(lambda v: not v.is_float)
    text = g.r.choice(["{x} + {y}", "{x} * {y}", "{y} - {x}", "{y} / ({x}.square() + 1)"])
    g.add(text.format(x=x.name, y=y.name), False)


@operation(2)
def extremum(g: Generator) -> None:
    x = g.exact(lambda v: v.dtype is not torch.bool)
    y = g.like(x, lambda v: v.exact, lambda v: v.dtype is not torch.bool)
    name = g.r.choice(["maximum", "minimum", "fmax", "fmin"])
    g.add(f"torch.{name}({x.name}, {y.name})", True)


@operation(3)
def comparison(g: Generator) -> None:
    x = g.exact()
    sign = g.r.choice(["<", "<=", ">", ">=", "==", "!="])
    if g.r.random() < 0.4:
        g.add(f"{x.name} {sign} {g.r.choice(['0', '1', '-2', '0.5'])}", True)
    else:
        y = g.exact(lambda v: v.is_float == x.is_float)
        g.add(f"{x.name} {sign} {y.name}", True)


@operation(1)
def float_tests(g: Generator) -> None:
    x = g.exact(lambda v: v.is_float)
    name = g.r.choice(["isnan", "isinf", "isfinite", "signbit", "isposinf", "isneginf"])
    g.add(f"torch.{name}({x.name})", True)


@operation(4)
def choice(g: Generator) -> None:
    x = g.pick()
    c = g.mask(x)
    if g.r.random() < 0.4:
        y = g.like(x)
        g.add(f"torch.where({c.name}, {x.name}, {y.name})", x.exact and y.exact)
    elif g.r.random() < 0.5:
        g.add(f"torch.where({c.name}, {x.name}, {g.r.choice(['0', '1', '-2'])})", x.exact)
    else:
        g.add(f"{x.name}.masked_fill({c.name}, {g.r.choice(['0', '1', '-2'])})", x.exact)


@operation(2)
def boolean(g: Generator) -> None:
    x = g.pick(lambda v: v.dtype is torch.bool)
    y = g.pick(lambda v: v.dtype is torch.bool)
    text = g.r.choice(
        ["{x} & {y}", "{x} | {y}", "{x} ^ {y}", "~{x}", "torch.logical_xor({x}, {y})",
         "{x}.any()", "{x}.all()", "{x}.sum()", "torch.logical_not({x})"]
    )  # fmt: skip
    g.add(text.format(x=x.name, y=y.name), True)


@operation(4)
def integers(g: Generator) -> None:
    x = g.pick(lambda v: v.is_int)
    y = g.like(x, lambda v: v.is_int)
    text = g.r.choice(
        ["{x} + {y}", "{x} - {y}", "{x} * {y}", "{x} // ({y} * {y} + 1)", "{x} % ({y} * {y} + 1)",
         "{x} & {y}", "{x} | {y}", "{x} ^ {y}", "-{x}", "{x}.abs()", "{x}.sign()", "{x} // 3",
         "{x} % 5", "{x} % -4", "torch.clamp({x}, -3, 4)", "{x} << 2", "{x} >> 1", "~{x}", "{x} * 3",
         "torch.div({x}, 3, rounding_mode='trunc')", "torch.fmod({x}, 4)", "{x} ** 2",
         "{x}.bool()", "torch.div({x}, {y} * {y} + 1, rounding_mode='floor')"]
    )  # fmt: skip
    g.add(text.format(x=x.name, y=y.name), True)


@operation(3)
def conversion(g: Generator) -> None:
    x = g.pick()
    if x.is_float:
        if g.r.random() < 0.6 and x.exact and not g.is_special:
            g.add(f"{x.name}.{g.r.choice(['long', 'int', 'bool'])}()", True)
        else:
            to = g.r.choice(["torch.float32", "torch.float64"])
            # `to` of its own dtype is an alias; in float64 everything is of one dtype.
            copy = "" if to == str(x.dtype) else ", copy=True"
            g.add(f"{x.name}.to({to}{copy})", x.exact and x.dtype is torch.float32)
    else:
        to = g.r.choice(
            ["torch.float32", "torch.float64", "torch.int64", "torch.int32", "torch.bool"]
        )
        g.add(f"{x.name}.to({to})", True)


@operation(6)
def reduction(g: Generator) -> None:
    x = g.floats()
    name = g.r.choice(["sum", "sum", "mean", "mean", "logsumexp", "var", "std_safe", "prod"])
    if name == "prod":
        g.add(f"torch.tanh({x.name}).prod({g.dim(x)})", False)
        return
    keep = g.r.random() < 0.5
    if (name == "sum" and g.r.random() < 0.3) or not x.shape:
        g.add(f"{x.name}.sum()", False)
        return
    dims = sorted(g.r.sample(range(len(x.shape)), g.r.randint(1, len(x.shape))))
    if name in ("var", "std_safe"):
        text = f"torch.var({x.name}, {dims}, correction={g.r.randint(0, 1)}, keepdim={keep})"
        if _product([x.shape[d] for d in dims]) < 2:
            raise NoSuchValue
        g.add(text if name == "var" else f"torch.sqrt({text} + 0.1)", False)
        return
    g.add(f"torch.{name}({x.name}, {dims}, {keep})", False)


@operation(3)
def exact_reduction(g: Generator) -> None:
    x = g.exact()
    if x.dtype is torch.bool:
        g.add(f"{x.name}.{g.r.choice(['any', 'all', 'sum'])}({g.dim(x)})", True)
        return
    d, keep = g.dim(x), g.r.random() < 0.5
    text = g.r.choice(
        ["{x}.amax({d}, {k})", "{x}.amin({d}, {k})", "{x}.max({d}, {k})[0]", "{x}.min({d}, {k})[1]",
         "{x}.argmax({d}, {k})", "{x}.argmin({d}, {k})", "{x}.max()", "{x}.min()", "{x}.argmax()",
         "torch.count_nonzero({x}, {d})", "{x}.max({d}, {k})[1]", "torch.aminmax({x}, dim={d})[0]"]
        + ([] if x.is_float else ["{x}.sum({d}, {k})", "{x}.cumsum({d})", "{x}.sum()"])
    )  # fmt: skip
    g.add(text.format(x=x.name, d=d, k=keep), True)


@operation(2)
def sorting(g: Generator) -> None:
    x = g.exact(lambda v: v.dtype is not torch.bool and bool(v.shape))
    d = g.dim(x)
    down = g.r.random() < 0.5
    part = g.r.randint(0, 1)
    if g.r.random() < 0.3 and x.shape[d]:
        if x.tensor.unique().numel() != x.tensor.numel():
            raise NoSuchValue  # which of equal elements gets the gradient is not defined
        g.add(f"torch.topk({x.name}, {g.r.randint(1, x.shape[d])}, {d}, {down})[0]", True)
    elif g.r.random() < 0.2:
        g.add(f"torch.cummax({x.name}, {d})[0]", True)
    else:
        g.add(f"torch.sort({x.name}, dim={d}, descending={down}, stable=True)[{part}]", True)


@operation(4)
def normalisation(g: Generator) -> None:
    x = g.floats(lambda v: bool(v.shape))
    d = g.dim(x)
    text = g.r.choice(
        ["torch.softmax({x}, {d})", "torch.log_softmax({x}, {d})", "F.softmin({x}, {d})",
         "F.layer_norm({x}, {last})", "F.layer_norm({x}, {last2})", "torch.cumsum({x}, {d})",
         "F.normalize({x} + 2.5, dim={d})", "torch.logcumsumexp({x}, {d})", "F.rms_norm({x}, {last})"]
    )  # fmt: skip
    g.add(text.format(x=x.name, d=d, last=x.shape[-1:], last2=x.shape[-2:]), False)


@operation(5)
def product(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) >= 1)
    y = g.floats(lambda v: v.dtype is x.dtype)
    inner = x.shape[-1]
    columns = g.r.choice([1, 2, 3, 5, 8])
    square = g.carve(y, [inner, columns])
    rows = g.carve(y, [columns, inner])
    text = g.r.choice(
        [f"{x.name} @ {square}", f"F.linear({x.name}, {rows})", f"torch.matmul({x.name}, {y.name})",
         f"F.linear({x.name}, {rows}, {g.carve(y, [columns])})",
         f"torch.einsum('...i,ij->...j', {x.name}, {square})",
         f"torch.matmul({x.name}, {g.carve(y, [inner])})"]
        + ([f"torch.addmm({g.carve(y, [columns])}, {x.name}, {square}, alpha=0.5)",
            f"torch.mm({x.name}, {square}).t()",
            f"torch.einsum('ab,bc->ca', {x.name}, {square})",
            f"{x.name}.t() @ {g.carve(y, [x.shape[0], columns])}"] if len(x.shape) == 2 else [])
        + ([f"torch.bmm({x.name}, {g.carve(y, [x.shape[0], inner, columns])})",
            f"torch.einsum('abc,abd->acd', {x.name}, {g.carve(y, [*x.shape[:2], columns])})"]
           if len(x.shape) == 3 else [])
        + ([f"torch.outer({x.name}, {g.carve(y, [columns])})", f"torch.dot({x.name}, {x.name})"]
           if len(x.shape) == 1 else [])
    )  # fmt: skip
    g.add(text, False)


@operation(2)
def window(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) in (3, 4))
    rank = len(x.shape) - 2
    y = g.floats(lambda v: v.dtype is x.dtype)
    size = g.r.randint(1, 3)
    # Whether zeros of the padding meet infinite weights depends on the algorithm.
    convolve = not g.is_special
    if convolve and g.r.random() < 0.5:
        out = g.r.randint(1, 4)
        weight = g.carve(y, [out, x.shape[1], *[size] * rank])
        stride, padding = g.r.randint(1, 2), g.r.randint(0, 2)
        dilation = g.r.randint(1, 2)
        g.add(f"F.conv{rank}d({x.name}, {weight}, None, {stride}, {padding}, {dilation})", False)
    elif g.r.random() < 0.5:
        g.add(f"F.avg_pool{rank}d({x.name}, {size}, {g.r.randint(1, 2)})", False)
    elif x.exact:
        g.add(f"F.max_pool{rank}d({x.name}, {size}, {g.r.randint(1, 2)}, {size // 2})", True)
    elif convolve:
        out = g.r.randint(1, 4)
        weight = g.carve(y, [x.shape[1], out, *[size] * rank])
        g.add(f"F.conv_transpose{rank}d({x.name}, {weight}, stride={g.r.randint(1, 2)})", False)


@operation(9)
def view(g: Generator) -> None:
    x = g.pick(lambda v: bool(v.shape))
    d, e = g.dim(x), g.dim(x)
    n = x.shape[d]
    dims = g.r.sample(range(len(x.shape)), len(x.shape))
    start = g.r.randint(0, max(n - 1, 0))
    stop = g.r.randint(start, n)
    step = g.r.randint(1, 3)
    at = ":, " * (d % len(x.shape))
    count = g.r.randint(1, max(n, 1))
    last = f"({', '.join(str(s) for s in x.shape[:-1])}{',' if len(x.shape) > 1 else ''} -1)"
    text = g.r.choice(
        ["{x}.transpose({d}, {e})", "{x}.permute({dims})", "{x}.unsqueeze({d})", "{x}.squeeze()",
         "{x}.flatten()", "{x}.reshape(-1)", "{x}.reshape({shuffled})",
         "{x}[{at}{start}:{stop}:{step}]",
         "{x}.select({d}, {start})", "{x}.narrow({d}, {start}, {count0})", "{x}.flip({d})",
         "torch.roll({x}, {step}, {d})", "{x}.repeat_interleave({step}, {d})",
         "{x}.chunk({step}, {d})[0]",
         "{x}.split({count}, {d})[-1]", "{x}.unbind({d})[{start}]", "{x}.expand(2, {same})",
         "{x}.movedim({d}, {e})", "{x}.contiguous()", "{x}.diagonal(dim1={d}, dim2={e})",
         "torch.tril({x})", "torch.triu({x}, 1)", "{x}.unfold({d}, {count}, {step})", "{x}.mT",
         "{x}.repeat(2, {ones})", "torch.rot90({x}, 1, [{d}, {e}])",
         "{x}.swapaxes({d}, {e}).reshape(-1)",
         "{x}[..., None]", "{x}[{at}-1]", "torch.broadcast_to({x}, {wide})", "{x}.clone()",
         "torch.diag_embed({x})", "{x}.view({last})", "torch.tile({x}, (2,))", "{x}.T.contiguous()",
         "{x}.tensor_split({step}, {d})[0]", "{x}.view_as({x})"]
    )  # fmt: skip
    g.add(
        text.format(
            x=x.name,
            d=d,
            e=e,
            dims=dims,
            at=at,
            start=start,
            stop=stop,
            step=step,
            count=count,
            count0=stop - start,
            shuffled=[x.shape[i] for i in dims],
            same=", ".join(str(s) for s in x.shape),
            ones=", ".join("1" for _ in x.shape),
            wide=[2, *x.shape],
            last=last,
        ),
        x.exact,
    )


@operation(2)
def padding(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) >= 1)
    a, b = g.r.randint(-1, 2), g.r.randint(0, 2)
    if g.r.random() < 0.6 or len(x.shape) not in (2, 3):
        g.add(f"F.pad({x.name}, ({a}, {b}), value={g.r.choice(['0.0', '1.5'])})", x.exact)
    else:
        mode = g.r.choice(["reflect", "replicate", "circular"])
        g.add(f"F.pad({x.name}, ({abs(a)}, {b}), mode={mode!r})", x.exact)


@operation(4)
def joining(g: Generator) -> None:
    x = g.pick()
    others = [v for v in g.values if v.shape == x.shape and v.is_float == x.is_float]
    chosen = [x, *g.r.choices(others, k=g.r.randint(0, 2))]
    names = ", ".join(v.name for v in chosen)
    exact = all(v.exact for v in chosen)
    if not x.shape or g.r.random() < 0.4:
        place = g.r.randint(0, len(x.shape))
        g.add(f"torch.stack([{names}], {place})", exact)
    else:
        g.add(f"torch.cat([{names}], {g.dim(x)})", exact)


@operation(5)
def indexing(g: Generator) -> None:
    x = g.pick(lambda v: bool(v.shape))
    d = g.dim(x) % len(x.shape)
    n = x.shape[d]
    at = ":, " * d
    kind = g.r.randrange(7)
    if kind == 0:
        _, i = g.index(n)
        g.add(f"{x.name}[{at}{i}]", x.exact)
    elif kind == 1:
        i, _ = g.index(n, lambda v: len(v.shape) == 1)
        g.add(f"{x.name}.index_select({d}, {i.name} % {n})", x.exact)
    elif kind == 2:
        i, _ = g.index(n, lambda v: len(v.shape) == len(x.shape))
        g.add(f"torch.gather({x.name}, {d}, {i.name} % {n})", x.exact)
    elif kind == 3 and len(x.shape) == 2:
        i, _ = g.index(x.shape[0])
        g.add(f"F.embedding({i.name} % {x.shape[0]}, {x.name})", x.exact)
    elif kind == 4 and len(x.shape) >= 2:
        i, text = g.index(x.shape[0])
        m = x.shape[1]
        if not m:
            raise NoSuchValue
        g.add(f"{x.name}[{text}, {i.name} % {m}]", x.exact)
    elif kind == 5:
        i, _ = g.index(n, lambda v: len(v.shape) == 1)
        y = g.like(x, lambda v: v.dtype is x.dtype)
        source = g.carve(y, [*x.shape[:d], *i.shape, *x.shape[d + 1 :]])
        if x.dtype is torch.bool:
            raise NoSuchValue
        g.add(f"{x.name}.index_add({d}, {i.name} % {n}, {source})", False)
    else:
        i, _ = g.index(n, lambda v: v.shape == x.shape)
        if x.dtype is torch.bool:
            raise NoSuchValue
        if g.r.random() < 0.5:
            g.add(f"{x.name}.scatter_add({d}, {i.name} % {n}, {x.name})", False)
        else:
            g.add(f"{x.name}.scatter({d}, {i.name} % {n}, 2)", x.exact)


@operation(2)
def creation(g: Generator) -> None:
    x = g.pick()
    n = g.r.choice(g.sizes)
    text = g.r.choice(
        [f"torch.arange({n})", f"torch.arange({n}, dtype=torch.float32)", f"torch.zeros_like({x.name})",
         f"torch.full({x.shape}, 2)", f"torch.ones({x.shape}, dtype={x.dtype})", f"torch.eye({n})",
         f"torch.full_like({x.name}, 1)", f"torch.arange({n}, 0, -1)", f"{x.name}.new_zeros([{n}])",
         "torch.tensor(0.5)", "torch.scalar_tensor(3)"]
    )  # fmt: skip
    g.add(text, True)


@operation(4)
def in_place(g: Generator) -> None:
    x = g.pick(lambda v: _is_writable(v, g))
    y = g.like(x, lambda v: v.dtype is x.dtype)
    view = g.r.choice(["", "", ".transpose(0, -1)", "[..., :1]", "[0]", "[::2]", ".flatten()[1:]"])
    c = [v.name for v in g.values if v.dtype is torch.bool and v.shape == x.shape]
    texts = [
        *("{x}{v}.add_({y})", "{x}{v}.mul_({y})", "{x}{v}.copy_({y})", "{x}{v}.sub_({y}, alpha=2)"),
        *("{x}{v}.zero_()", "{x}{v}.fill_(2)", "{x}{v}.mul_(3)", "{x}{v}.neg_()"),
    ]
    if x.dtype is torch.bool:
        texts = ["{x}{v}.logical_not_()", "{x}{v}.zero_()", "{x}{v}.copy_({y})"]
    elif x.is_float:
        texts += ["{x}{v}.tanh_()", "{x}{v}.sigmoid_()", "{x}{v}.addcmul_({y}, {y})"]
    if c:
        texts.append(f"{{x}}.masked_fill_({g.r.choice(c)}, 1)")
    text = g.r.choice(texts)
    keeps = ("zero_", "fill_", "neg_", "logical_not_")
    exact = x.exact and (any(k in text for k in keeps) or ("copy_" in text and y.exact))
    if ".flatten()" in view and not x.tensor.is_contiguous():
        view = ""
    g.write(x, text.format(x=x.name, y=y.name, v=view), exact)


def _is_writable(v: Value, g: Generator) -> bool:
    """Inputs may require gradients: only what the program made is written, and integer inputs."""
    x = v.tensor
    if any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape)) or not x.shape:
        return False
    storages = {
        w.tensor.untyped_storage()._cdata for w in g.values if w.name[0] == "x" and w.is_float
    }
    return x.untyped_storage()._cdata not in storages


def generate(seed: int) -> Program:
    """The program of a seed: the same on every machine with this PyTorch."""
    return Generator(seed).generate()
