"""How random programs are written: their text, their inputs, and the generator that adds line by line.

Start with `Generator.generate`; what a line can be stands in random_operations.py and random_moves.py.
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
NARROW = (torch.float16, torch.bfloat16)
SIGNED = (torch.int8, torch.int16, torch.int32, torch.int64)
#: uint8 is moved and converted only: most programs have numbers that it cannot hold.
KNOWN = (torch.float32, torch.float64, *NARROW, *SIGNED, torch.uint8, torch.bool)

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
        return torch.randint(-9, 10, shape, generator=generator).to(dtype)
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
        source = widened(self.source()) if wide else self.source()
        space: dict[str, Any] = {"torch": torch, "F": F}
        exec(compile(source, "<random program>", "exec"), space)
        return space["program"]

    def make_inputs(self) -> list[torch.Tensor]:
        space = {"torch": torch, "make_input": make_input}
        return [eval(text, space) for text in self.inputs.values()]


#: What sizes become: none and one, a vector more or less one, primes; and large ones.
OTHER_SIZES = (0, 1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 31, 33, 64)
LARGE_SIZES = (63, 65, 127, 128, 251, 257, 509)


def resized(program: Program, seed: int) -> Program:
    """The program for inputs of other sizes: equal sizes stay equal, and ones stay."""
    rng = random.Random(seed)
    found = sorted({n for text in program.inputs.values() for n in _shape_in(text)} - {1})
    large = rng.choice(found) if found and rng.random() < 0.3 else None
    sizes = {n: rng.choice(LARGE_SIZES if n == large else OTHER_SIZES) for n in found}
    shapes = [_shape_in(text) for text in program.inputs.values()]
    while any(product_of([sizes.get(n, n) for n in s]) > MAX_ELEMENTS_LARGE for s in shapes):
        sizes[rng.choice(found)] = rng.choice(OTHER_SIZES[:6])
    inputs = {
        name: text.replace(str(_shape_in(text)), str([sizes.get(n, n) for n in _shape_in(text)]), 1)
        for name, text in program.inputs.items()
    }
    return dataclasses.replace(program, inputs=inputs)


def with_dense_indices(program: Program) -> Program:
    """Scatters of sums by an index in memory of its own: eager is wrong where one that is expanded is
    smaller than what it adds to (docs/guide/parity.md), as it becomes when sizes grow.
    """
    expanded = re.compile(r"(\.scatter_(?:add|reduce)\(.*?\.expand\(\[[\d, ]*\]\))")
    return dataclasses.replace(
        program, lines=[expanded.sub(r"\1.contiguous()", line) for line in program.lines]
    )


def _shape_in(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text[text.index("[") : text.index("]")])]


def widened(text: str) -> str:
    """Source text with float64 in place of narrower floating point types."""
    return re.sub(r"torch\.b?float(16|32)\b", "torch.float64", text)


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
        return self.dtype in SIGNED


def _broadcast(a: Value, b: Value) -> bool:
    pairs = zip(reversed(a.shape), reversed(b.shape))
    return all(m == n or 1 in (m, n) for m, n in pairs)


class NoSuchValue(Exception):
    """No value that an operation could read."""


class Operations:
    """Functions that add a line each or raise, with how often they are chosen; `@operation(weight)`."""

    def __init__(self) -> None:
        self.functions: list[Callable[[Generator], None]] = []
        self.weights: list[float] = []

    def __call__(
        self, weight: float
    ) -> Callable[[Callable[[Generator], None]], Callable[[Generator], None]]:
        def register(function: Callable[[Generator], None]) -> Callable[[Generator], None]:
            self.functions.append(function)
            self.weights.append(weight)
            return function

        return register


class Generator:
    """Writes one program, running it in eager line by line to know shapes and to avoid errors."""

    def __init__(self, seed: int, tables: Sequence[Operations]) -> None:
        self.seed = seed
        self.operations = [f for table in tables for f in table.functions]
        self.weights = [w for table in tables for w in table.weights]
        self.r = random.Random(seed)
        self.space: dict[str, Any] = {"torch": torch, "F": F}
        self.values: list[Value] = []
        self.lines: list[str] = []
        self.wants_grad: set[str] = set()  #: inputs
        self.is_special = self.r.random() < 0.12  #: inputs with NaN and infinities
        self.is_grad = self.r.random() < 0.7
        self.lengths = (3, 24)  #: of programs, in lines
        self.max_elements, self.sizes = self._sizes()

    def _sizes(self) -> tuple[int, list[int]]:
        """Most elements of a value, and the extents of inputs."""
        is_large = self.seed % 20 == 19  # large enough for steps to be shared among threads
        sizes = (
            [31, 64, 129, 200, 528, 1072, 2112] if is_large else [1, 2, 3, 4, 5, 7, 8, 9, 16, 17]
        )
        chosen = [self.r.choice(sizes) for _ in range(3)]
        if self.r.random() < 0.06:
            chosen[0] = 0
        if self.r.random() < 0.1:
            chosen[self.r.randrange(3)] = self.r.choice([33, 64, 100, 129])
        return MAX_ELEMENTS_LARGE if is_large else MAX_ELEMENTS, chosen

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
        if value.dtype not in KNOWN:
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
        inputs = self._inputs()
        wanted = self.r.randint(*self.lengths)
        fails = 0
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while len(self.lines) < wanted and fails < 400:
                state = len(self.lines)
                try:
                    self.r.choices(self.operations, self.weights)[0](self)
                except (
                    NoSuchValue,
                    ArithmeticError,
                    LookupError,
                    RuntimeError,
                    ValueError,
                    TypeError,
                ):
                    assert len(self.lines) == state
                    fails += 1
        names = [v.name for v in self.values]
        outputs = [self.values[-1].name]
        for _ in range(self.r.randint(0, 3)):
            outputs.append(self.r.choice(names))
        if self.r.random() > 0.05:
            outputs = list(dict.fromkeys(outputs))
        return Program(inputs, self.wants_grad, self.lines, outputs, self.is_grad)

    def _inputs(self) -> dict[str, str]:
        inputs: dict[str, str] = {}
        main = self.r.choices([torch.float32, torch.float64, *NARROW], [12, 4, 1, 1])[0]
        others = [main, torch.float64, torch.float32, torch.int64, torch.int32, torch.bool]
        small = [torch.int8, torch.int16, torch.uint8]
        count = self.r.randint(1, 3)
        weights = [4, 1, 1, 3, 1, 2, 0.5, 0.25, 0.5]
        kinds = [main, main, *self.r.choices(others + small, weights, k=count)]
        for number, dtype in enumerate(kinds):
            rank = self.r.choices([0, 1, 2, 3, 4], [1, 3, 5, 4, 1])[0]
            shape = [self.r.choice(self.sizes) for _ in range(rank)]
            if shape and self.r.random() < 0.2:
                shape[self.r.randrange(rank)] = 1
            while product_of(shape) > self.max_elements:
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
                self.wants_grad.add(name)
            self.space[name] = value
            self.values.append(Value(name, value, True))
        return inputs


class HugeGenerator(Generator):
    """Tensors that no cache holds, most often with rows that are no multiple of a vector."""

    def __init__(self, seed: int, tables: Sequence[Operations]) -> None:
        super().__init__(seed, tables)
        self.is_special = False
        self.lengths = (1, 6)

    def _sizes(self) -> tuple[int, list[int]]:
        wanted = 10 ** self.r.uniform(6.4, 7.1)  # 3 to 13 million
        columns = self.r.choice([7, 33, 100, 257, 997, 1000, 1001, 1003, 1024, 1320, 1324, 5001])
        middle = self.r.choice([1, 1, 3, 21])
        return 1 << 24, [max(1, int(wanted / columns / middle)), middle, columns]

    def _inputs(self) -> dict[str, str]:
        """One of full size, and others that broadcast with it."""
        inputs: dict[str, str] = {}
        dtype = self.r.choices([torch.float32, torch.float64, torch.bfloat16], [12, 1, 1])[0]
        full = [n for n in self.sizes if n > 1]
        shapes = [full]
        for _ in range(self.r.randint(1, 3)):
            shapes.append([n if self.r.random() < 0.5 else 1 for n in full])
        if self.r.random() < 0.5:
            shapes.append(full[-1:])
        for number, shape in enumerate(shapes):
            text = f"make_input({shape}, {dtype}, 'normal', 'contiguous', {number})"
            value = make_input(shape, dtype, "normal", "contiguous", number)
            name = f"x{number}"
            inputs[name] = text
            if self.r.random() < 0.8:
                self.wants_grad.add(name)
            self.space[name] = value
            self.values.append(Value(name, value, True))
        return inputs


def product_of(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
