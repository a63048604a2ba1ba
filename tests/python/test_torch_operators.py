"""docs/operators.md is what the tables say."""

from pathlib import Path

import pytest
import torch

from coregrad.torch import operators

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_of_operators_is_current():
    committed = PAGE.read_text()
    version = torch.__version__.partition("+")[0]
    if f"with PyTorch {version}." not in committed:
        pytest.skip(f"the page is about another PyTorch than {version}")
    fresh = operators.page()
    assert committed == fresh, "python -m coregrad.torch.operators > docs/operators.md"


def test_every_state_of_an_operator_is_told_apart():
    aten = torch.ops.aten
    assert operators.state(aten.exp.default) == operators.NATIVE
    assert operators.state(aten.addr.default) == operators.TAKEN_APART
    assert operators.state(aten.resize_.default) == operators.TAKEN_APART
    assert operators.state(aten.sym_size.int) == operators.TAKEN_APART
    assert operators.state(aten.nonzero.default) == operators.IN_PYTORCH
