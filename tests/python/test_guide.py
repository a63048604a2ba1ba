"""The examples of the guide run as they stand."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
PAGES = {"tensors.md": 5}  # and at least so many examples in each


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (GUIDE / page).read_text(), re.DOTALL)
    assert len(examples) >= PAGES[page]
    for example in examples:
        exec(compile(example, page, "exec"), {"__name__": "example"})
