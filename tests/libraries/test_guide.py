"""The examples of docs/guide/libraries.md: each section runs as it is written, compiled and in eager.

`make libraries` installs the libraries and starts this. The blocks of a section are one program;
what a block leaves in `result` must be what eager computes. The operators that a section names are
those that run in PyTorch, no more and no fewer, and no graph is left to PyTorch whole.
"""

import re
from pathlib import Path

import pytest
import torch

import coregrad.torch
from coregrad.torch.parity.judge import compare_all

PAGE = Path(__file__).parents[2] / "docs/guide/libraries.md"
SECTIONS = {
    section.partition("\n")[0]: section
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Absolute and relative: beyond that of one operator, since the examples train for some steps.
SLACK = (1e-4, 1e-4)


def run(section, stance):
    """What the blocks of a section leave in `result`, with the same random numbers each time."""
    torch.compiler.reset()
    coregrad.torch.reset()
    torch.manual_seed(0)
    names, results = {"__name__": "example"}, []
    with torch.compiler.set_stance(stance), torch._dynamo.config.patch(trace_autograd_ops=False):
        for block in BLOCK.findall(section):
            exec(block, names)
            result = names.pop("result")
            results += result if isinstance(result, (list, tuple)) else [result]
    return [torch.as_tensor(value).detach() for value in results]


@pytest.mark.filterwarnings("error::coregrad.torch.CompilerFaultWarning")
@pytest.mark.parametrize("title", [t for t, section in SECTIONS.items() if BLOCK.search(section)])
def test_a_section_computes_what_eager_does(title, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    eager = run(SECTIONS[title], "force_eager")
    assert not coregrad.torch.report().graphs
    compiled = run(SECTIONS[title], "default")
    print(coregrad.torch.report())
    wrong = compare_all(compiled, eager, slack=SLACK)
    assert wrong is None, wrong
    report = coregrad.torch.report().to_dict()
    assert report["num_native"]
    assert not report["num_rejected"]
    assert {name.rpartition(".")[0] for name in report["fallbacks"]} == set(
        re.findall(r"`(aten\.\w+)`", SECTIONS[title])
    )


def test_a_module_of_pytorchs_own_is_not_compiled_in_place():
    torch.compiler.reset()
    coregrad.torch.reset()
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), torch.randn(2, 4)
    model.compile(backend="coregrad")
    model(x)
    assert not coregrad.torch.report().graphs
    torch.compile(model, backend="coregrad")(x)
    assert coregrad.torch.report().graphs
