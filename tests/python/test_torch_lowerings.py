"""Every row of the lowering table gives what its overload gives in PyTorch.

The overload alone is compiled as a graph of one node, without AOTAutograd's decompositions, and nothing
may fall back. The operator database (test_torch_op_db.py) tests the same rows in company.
"""

import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lowering_cases import CASES, RANDOM, UNSET
from torch.utils import _pytree as pytree

from coregrad.torch.backend import compile_fx_graph
from coregrad.torch.input_layouts import layouts_of
from coregrad.torch.lowering import ROWS
from coregrad.torch.lowering.table import find_overload
from coregrad.torch.options import Options
from coregrad.torch.parity.judge import compare_all
from coregrad.torch.parts import graph_of_call

for _path in sorted(Path(__file__).parent.glob("lowering_cases_*.py")):
    importlib.import_module(_path.stem)

INPUTS = {
    "random": lambda: torch.randn(2, 3, 8, 8),
    "ties": lambda: torch.randint(0, 2, (2, 3, 8, 8)).float(),
    "all_minus_infinity": lambda: torch.full((1, 2, 8, 8), -float("inf")),
    "some_nan": lambda: torch.randn(1, 2, 8, 8).masked_fill(
        torch.rand(1, 2, 8, 8) < 0.2, float("nan")
    ),
    "transposed": lambda: torch.randn(1, 2, 8, 8).transpose(2, 3),
}


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 1, 1), (3, 2, 1)])
@pytest.mark.parametrize("name", INPUTS)
def test_max_pool_values_and_indices_equal_those_of_torch(name, window):
    size, stride, padding = window
    x = INPUTS[name]()

    def pool(x):
        return F.max_pool2d(x, size, stride, padding, return_indices=True)

    options = {"fallback": "error"}
    compiled = torch.compile(pool, backend="coregrad", options=options)
    values, indices = compiled(x)
    expected_values, expected_indices = pool(x)
    torch.testing.assert_close(values, expected_values, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(indices, expected_indices)


def with_floats(arguments, dtype):
    """The arguments with tensors that are floats, and dtypes, of another precision."""

    def changed(value):
        if isinstance(value, torch.Tensor):
            return value.to(dtype) if value.dtype in FLOATS else value
        return dtype if isinstance(value, torch.dtype) and value in FLOATS else value

    return pytree.tree_map(changed, arguments)


FLOATS = (torch.float32, torch.float16, torch.bfloat16)
#: Places of arguments that are float32 whatever the others are.
ALWAYS_FLOAT32 = {"aten._scaled_dot_product_flash_attention_for_cpu_backward.default": (5,)}


def eager_results(overload, args, kwargs):
    """What PyTorch gives, or None where it has no kernel for the dtype."""
    try:
        return pytree.tree_leaves(overload(*args, **kwargs))
    except RuntimeError as error:
        if not any(text in str(error) for text in ("not implemented for", "Low precision dtypes")):
            raise
        return None


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CASES)
def test_a_lowering_alone_gives_what_its_overload_gives(name, dtype):
    overload = find_overload(name)
    for number, make in enumerate(CASES[name]):
        torch.manual_seed(number)
        args, kwargs = make()
        if dtype != torch.float32:
            kept = {place: args[place] for place in ALWAYS_FLOAT32.get(name, ())}
            args, kwargs = with_floats((args, kwargs), dtype)
            args = tuple(kept.get(place, a) for place, a in enumerate(args))
        eager = eager_results(overload, args, kwargs)
        if eager is None:
            assert dtype != torch.float32
            continue
        module, inputs = graph_of_call(overload, args, kwargs)
        values = {node: node.meta.get("val") for node in module.graph.nodes}
        layouts = layouts_of(module, inputs, values)  # of what an earlier graph would have given
        run = compile_fx_graph(module, Options.make({"fallback": "error"}), name, layouts)
        got = run(list(inputs))
        # Traced running statistics are float32 where PyTorch's kernel keeps narrow ones.
        traced = [node.meta["val"] for node in module.graph.find_nodes(op="output")[0].args[0]]
        assert [(g.dtype, g.shape) for g in got] == [(t.dtype, t.shape) for t in traced]
        eager = [e.to(t.dtype) for e, t in zip(eager, traced, strict=True)]
        if name in UNSET:
            continue
        if name in RANDOM and args[-1] is not False:
            for g, e in zip(got, eager):
                for moment in (torch.mean, torch.std):
                    # 2000 samples: four standard errors of either.
                    assert abs(moment(g.double()) - moment(e.double())) < 0.13
            continue
        wide = with_floats((args, kwargs), torch.float64)
        try:
            exact = pytree.tree_leaves(overload(*wide[0], **wide[1]))
        except RuntimeError:  # an overload that has no float64 kernel
            exact = None
        message = compare_all(got, eager, exact)
        assert message is None, f"{name}, {dtype}, case {number}: {message}"


def test_every_row_of_the_lowering_table_is_reached_by_a_case():
    reached = {find_overload(name) for name in CASES}
    assert not sorted(str(row) for row in ROWS if row not in reached)
    assert not sorted(name for name in CASES if find_overload(name) not in ROWS)
