"""What the primitives of src/ir/ops.def refuse: a typed error that begins with the operation's name,
while the graph is built where that can be, and otherwise when the program runs.
"""

import re

import pytest
import torch
from primitive_cases import TABLE
from primitive_cases.along_dimensions import REDUCE, SCANS
from primitive_cases.common import DTYPES, method
from primitive_cases.contractions import plain
from primitive_cases.elementwise import BINARY, UNARY

import coregrad as cg
import coregrad.torch
from coregrad import _core

F32, F64, I32, I64, B8 = (
    DTYPES[t] for t in (torch.float32, torch.float64, torch.int32, torch.int64, torch.bool)
)


class Maker:
    """Inputs of a graph, numbered as they come."""

    def __init__(self):
        self.graph = _core.Graph()
        self.count = 0

    def __call__(self, *shape, dtype=F32, strides=()):
        self.count += 1
        return self.graph.input(self.count - 1, dtype, shape, list(strides))


def of_elementwise(op, *dtypes_and_shapes):
    """Builds the operation on operands of these dtypes and shapes."""

    def build(g, new):
        return method(g, op)(*(new(*shape, dtype=dtype) for dtype, shape in dtypes_and_shapes))

    return build


def of_contract(lhs, rhs, *spec, dtypes=(F32, F32)):
    return lambda g, new: g.contract(new(*lhs, dtype=dtypes[0]), new(*rhs, dtype=dtypes[1]), *spec)


def gradient_of(build):
    def differentiate(g, new):
        x = new(3)
        result = build(g, new, x)
        g.gradients([result], [new(3)], [x])

    return differentiate


BITWISE = ("and", "or", "xor")
SHIFTS = ("shl", "shr")
NOT_OF_BOOL = ("sub", "rem", "pow")
PAIR = ((2, 3), (2, 4))
MATMUL = ([2, 3, 4], [plain(0), plain(1)], [plain(1), plain(2)], [0, 2])

# (primitive, what is wrong with it) -> what is raised, and what raises it
BAD = {
    ("input", "negative index"): (cg.ValueError, lambda g, new: g.input(-1, F32, [2])),
    ("input", "negative extent"): (cg.ShapeError, lambda g, new: new(-2)),
    ("input", "too few strides"): (cg.LayoutError, lambda g, new: new(2, 3, strides=[1])),
    ("input", "more elements than fit"): (cg.ShapeError, lambda g, new: new(2**40, 2**40)),
    ("literal", "text"): (cg.DTypeError, lambda g, new: g.literal(F32, "one")),
    ("literal", "too large"): (cg.ValueError, lambda g, new: g.literal(I64, 2**63)),
    ("literal", "too large for int32"): (cg.ValueError, lambda g, new: g.literal(I32, 2**31)),
    ("literal", "too large for a float"): (cg.ValueError, lambda g, new: g.literal(F32, 10**400)),
    ("iota", "float"): (cg.DTypeError, lambda g, new: g.iota(F32, 3)),
    ("iota", "negative length"): (cg.ShapeError, lambda g, new: g.iota(I64, -1)),
    ("iota", "int32 overflows"): (cg.ShapeError, lambda g, new: g.iota(I32, 2**31 + 1)),
    ("random", "seed of rank 1"): (
        cg.DTypeError,
        lambda g, new: g.random(new(1, dtype=I64), F32, [3], 0),
    ),
    ("random", "float seed"): (cg.DTypeError, lambda g, new: g.random(new(), F32, [3], 0)),
    ("random", "bool"): (cg.DTypeError, lambda g, new: g.random(new(dtype=I64), B8, [3], 0)),
    ("random", "negative extent"): (
        cg.ShapeError,
        lambda g, new: g.random(new(dtype=I64), F32, [-3], 0),
    ),
    ("neg", "bool"): (cg.DTypeError, of_elementwise("neg", (B8, (2,)))),
    ("not", "float"): (cg.DTypeError, of_elementwise("not", (F32, (2,)))),
    **{
        (op, "extents that do not broadcast"): (
            cg.ShapeError,
            of_elementwise(op, *((I64, shape) for shape in PAIR)),
        )
        for op in BINARY
    },
    **{
        (op, "bool"): (cg.DTypeError, of_elementwise(op, (B8, (2,)), (B8, (2,))))
        for op in (*NOT_OF_BOOL, *SHIFTS)
    },
    **{
        (op, "float"): (cg.DTypeError, of_elementwise(op, (F32, (2,)), (I64, (2,))))
        for op in (*BITWISE, *SHIFTS)
    },
    ("select", "condition is no bool"): (
        cg.DTypeError,
        of_elementwise("select", (I64, (2,)), (F32, (2,)), (F32, (2,))),
    ),
    ("select", "extents that do not broadcast"): (
        cg.ShapeError,
        of_elementwise("select", (B8, (2,)), (F32, (3,)), (F32, (3,))),
    ),
    ("select", "values that do not broadcast"): (
        cg.ShapeError,
        of_elementwise("select", (B8, (2,)), (F32, (2,)), (F32, (3,))),
    ),
    ("reshape", "other number of elements"): (
        cg.ShapeError,
        lambda g, new: g.reshape(new(2, 3), [5]),
    ),
    ("reshape", "two unknown extents"): (
        cg.ShapeError,
        lambda g, new: g.reshape(new(2, 3), [-1, -1]),
    ),
    ("reshape", "no whole extent"): (cg.ShapeError, lambda g, new: g.reshape(new(2, 3), [4, -1])),
    ("reshape", "negative extent"): (cg.ShapeError, lambda g, new: g.reshape(new(2, 3), [-2, -3])),
    ("reshape", "too many dimensions"): (
        cg.ShapeError,
        lambda g, new: g.reshape(new(2, 3), [1] * 64 + [6]),
    ),
    ("permute", "dimension twice"): (cg.ValueError, lambda g, new: g.permute(new(2, 3), [0, 0])),
    ("permute", "no such dimension"): (cg.IndexError, lambda g, new: g.permute(new(2, 3), [0, 2])),
    ("permute", "too few places"): (cg.ShapeError, lambda g, new: g.permute(new(2, 3), [0])),
    ("expand", "other extent"): (
        cg.ShapeError,
        lambda g, new: g.broadcast_to(new(2, 3), [4, 3]),
    ),
    ("expand", "fewer dimensions"): (cg.ShapeError, lambda g, new: g.broadcast_to(new(1, 3), [3])),
    ("expand", "negative extent"): (cg.ShapeError, lambda g, new: g.broadcast_to(new(1), [-1])),
    ("slice", "stop before start"): (
        cg.IndexError,
        lambda g, new: g.slice(new(5), [3], [2], [1]),
    ),
    ("slice", "stop behind the end"): (
        cg.IndexError,
        lambda g, new: g.slice(new(5), [0], [6], [1]),
    ),
    ("slice", "step of 0"): (cg.ValueError, lambda g, new: g.slice(new(5), [0], [5], [0])),
    ("slice", "too few starts"): (
        cg.ShapeError,
        lambda g, new: g.slice(new(5, 5), [0], [5, 5], [1, 1]),
    ),
    ("slice", "no such dimension"): (cg.IndexError, lambda g, new: g.narrow(new(5), 1, 0, 1)),
    ("flip", "no such dimension"): (cg.IndexError, lambda g, new: g.flip(new(5), [1])),
    ("flip", "dimension twice"): (cg.ValueError, lambda g, new: g.flip(new(5), [0, -1])),
    ("pad", "negative padding"): (cg.ValueError, lambda g, new: g.pad(new(5), [-1], [0], [0], 0)),
    ("pad", "too few paddings"): (cg.ShapeError, lambda g, new: g.pad(new(5), [], [0], [0], 0)),
    ("pad", "fill is text"): (cg.DTypeError, lambda g, new: g.pad(new(5), [1], [0], [0], "a")),
    ("window", "does not fit"): (cg.ShapeError, lambda g, new: g.window(new(5), [(0, 3, 1, 3)])),
    ("window", "size of 0"): (cg.ValueError, lambda g, new: g.window(new(5), [(0, 0, 1, 1)])),
    ("window", "dimension twice"): (
        cg.ValueError,
        lambda g, new: g.window(new(5), [(0, 2, 1, 1), (-1, 2, 1, 1)]),
    ),
    ("window", "no such dimension"): (
        cg.IndexError,
        lambda g, new: g.window(new(5), [(1, 2, 1, 1)]),
    ),
    ("concat", "nothing"): (cg.ValueError, lambda g, new: g.cat([], 0)),
    ("concat", "other extents"): (
        cg.ShapeError,
        lambda g, new: g.cat([new(2, 3), new(2, 4)], 0),
    ),
    ("concat", "no such dimension"): (cg.IndexError, lambda g, new: g.cat([new(2)], 1)),
    ("concat", "rank 0"): (cg.IndexError, lambda g, new: g.cat([new(), new()], 0)),
    **{
        (op, "no such dimension"): (
            cg.IndexError,
            lambda g, new, op=op: getattr(g, op)(new(2, 3), 2 if op.startswith("arg") else [2]),
        )
        for op in REDUCE
    },
    **{
        (op, "dimension twice"): (
            cg.ValueError,
            lambda g, new, op=op: getattr(g, op)(new(2, 3), [1, -1]),
        )
        for op in REDUCE
        if not op.startswith("arg")
    },
    **{
        (op, "no elements"): (
            cg.ShapeError,
            lambda g, new, op=op: getattr(g, op)(new(0, 3), 0 if op.startswith("arg") else [0]),
        )
        for op in REDUCE
        if op not in ("sum", "prod")
    },
    ("contract", "other dtypes"): (
        cg.DTypeError,
        of_contract((2, 3), (3, 4), *MATMUL, dtypes=(F32, F64)),
    ),
    ("contract", "bool"): (cg.DTypeError, of_contract((2, 3), (3, 4), *MATMUL, dtypes=(B8, B8))),
    ("contract", "inner extents"): (cg.ShapeError, of_contract((2, 3), (5, 4), *MATMUL)),
    ("contract", "too few maps"): (
        cg.ShapeError,
        of_contract((2, 3), (3, 4), [2, 3, 4], [plain(0)], [plain(1), plain(2)], [0, 2]),
    ),
    ("contract", "no such label"): (
        cg.ValueError,
        of_contract((2, 3), (3, 4), [2, 3, 4], [plain(0), plain(3)], [plain(1), plain(2)], [0, 2]),
    ),
    ("contract", "label twice in the output"): (
        cg.ValueError,
        of_contract((2, 3), (3, 4), *MATMUL[:3], [0, 0]),
    ),
    ("contract", "label that addresses nothing"): (
        cg.ValueError,
        of_contract((2, 3), (3, 4), [2, 3, 4, 5], *MATMUL[1:3], [0, 2, 3]),
    ),
    ("contract", "divisor of 0"): (
        cg.ValueError,
        of_contract((2,), (2,), [2], [(0, -1, 1, 0, 0, 0)], [plain(0)], []),
    ),
    ("gather", "float index"): (cg.DTypeError, lambda g, new: g.gather(new(3), 0, new(2))),
    ("gather", "other rank"): (
        cg.ShapeError,
        lambda g, new: g.gather(new(3, 3), 0, new(2, dtype=I64)),
    ),
    ("gather", "index is larger"): (
        cg.ShapeError,
        lambda g, new: g.gather(new(3, 3), 0, new(2, 4, dtype=I64)),
    ),
    ("gather", "rank 0"): (cg.IndexError, lambda g, new: g.gather(new(), 0, new(dtype=I64))),
    ("scatter", "float index"): (
        cg.DTypeError,
        lambda g, new: g.scatter(new(3), 0, new(2), new(2), "set"),
    ),
    ("scatter", "other dtype"): (
        cg.DTypeError,
        lambda g, new: g.scatter(new(3), 0, new(2, dtype=I64), new(2, dtype=F64), "set"),
    ),
    ("scatter", "other extents"): (
        cg.ShapeError,
        lambda g, new: g.scatter(new(3), 0, new(2, dtype=I64), new(3), "set"),
    ),
    ("scatter", "no such mode"): (
        cg.ValueError,
        lambda g, new: g.scatter(new(3), 0, new(2, dtype=I64), new(2), "mean"),
    ),
    ("scatter", "no such dimension"): (
        cg.IndexError,
        lambda g, new: g.scatter(new(3), 1, new(2, dtype=I64), new(2), "set"),
    ),
    **{
        (op, "rank 0"): (cg.IndexError, lambda g, new, op=op: getattr(g, op)(new(), 0))
        for op in {*SCANS, "argsort"} - {"cumsum", "cumprod"}  # operators, which take scalars
    },
    **{
        (op, "no such dimension"): (
            cg.IndexError,
            lambda g, new, op=op: getattr(g, op)(new(3), 1),
        )
        for op in (*SCANS, "argsort")
    },
    ("argsort", "gradient"): (
        cg.AutogradError,
        lambda g, new: g.gradients([g.argsort(new(3), 0)], [new(3)], [new(3)]),
    ),
    ("external", "negative id"): (
        cg.ValueError,
        lambda g, new: g.external(-1, 0, [new(3)], F32, [3]),
    ),
    ("external", "gradient"): (
        cg.AutogradError,
        gradient_of(lambda g, new, x: g.external(0, 0, [x], F32, [3])),
    ),
}

# These take every operand: unary operations whatever the dtype, and a cast any pair of dtypes.
TAKES_ALL = {*UNARY, "cast"} - {"neg", "not"}
# The method that makes the primitive, where it has another name.
METHODS = {"expand": "broadcast_to"}


def test_every_primitive_refuses_something_or_takes_everything():
    assert {op for op, _ in BAD} == set(TABLE) - TAKES_ALL


@pytest.mark.parametrize(("op", "what"), BAD)
def test_bad_inputs_raise_a_typed_error_that_names_the_operation(op, what):
    error, build = BAD[op, what]
    name = METHODS.get(op, op)
    pattern = rf"(cannot differentiate |\(){name}\b" if error is cg.AutogradError else f"^{name}: "
    maker = Maker()
    with pytest.raises(error, match=pattern) as caught:
        build(maker.graph, maker)
    assert type(caught.value) is error
    assert not re.search(r"internal|unreachable|\.cpp", str(caught.value))


@pytest.mark.parametrize("name", [*UNARY, *BINARY, *REDUCE])
def test_nodes_of_another_graph_are_refused(name):
    here, there = Maker(), Maker()
    mine, foreign = here(2, 3, dtype=I64), there(2, 3, dtype=I64)
    function = method(here.graph, name)
    operands = [foreign] if name not in BINARY else [mine, foreign]
    with pytest.raises(cg.ValueError, match=f"^{name}: a node of another graph"):
        function(*operands)


def test_a_program_refuses_nodes_of_another_graph():
    here, there = Maker(), Maker()
    here(2)
    with pytest.raises(cg.ValueError, match=r"^program: a node of another graph"):
        _core.Program(here.graph, [(there(2, 3), None, -1)], 1)


@pytest.mark.parametrize("index", [-1, 5, 2**31, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("op", ["gather", "set", "add", "mul", "max", "min"])
def test_an_index_out_of_range_is_found_when_the_program_runs(op, dtype, index):
    graph = _core.Graph()
    x = graph.input(0, DTYPES[dtype], [2, 5])
    at = graph.input(1, I64, [2, 3])
    if op == "gather":
        result = graph.gather(x, 1, at)
    else:
        result = graph.scatter(x, 1, at, graph.narrow(x, 1, 0, 3), op)
    program = _core.Program(graph, [(result, None, -1)], 2)
    values, good = torch.ones(2, 5).to(dtype), torch.tensor([[0, 4, 1], [3, 2, 2]])
    program([values, good])
    bad = good.clone()
    bad[1, 2] = index
    name = "gather" if op == "gather" else "scatter"
    with pytest.raises(cg.IndexError, match=rf"^{name}: index {index} "):
        program([values, bad])
    program([values, good])  # the program is none the worse for it
