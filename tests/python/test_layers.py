"""The include layers, and the check itself."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import check_layers  # noqa: E402


def test_the_tree_respects_its_layers():
    assert check_layers.main() == 0


def test_an_upward_include_is_reported_with_its_line():
    text = '#include "base/error.h"\n#include "compile/compiler.h"\n'
    found = check_layers.problems_in(Path("src/ir/graph.cpp"), text)
    assert found == ["src/ir/graph.cpp:2: layer 'ir' may not include compile/compiler.h"]


def test_layers_below_are_reached_through_others():
    assert not check_layers.problems_in(Path("src/cli/main.cpp"), '#include "ir/graph.h"\n')


def test_llvm_is_for_code_generation_only():
    text = "#include <llvm/IR/Module.h>\n"
    assert not check_layers.problems_in(Path("src/codegen/jit/jit.cpp"), text)
    assert len(check_layers.problems_in(Path("src/compile/pipeline.cpp"), text)) == 1


def test_an_unknown_folder_must_be_added_to_the_table():
    assert "unknown layer" in check_layers.problems_in(Path("src/magic/a.cpp"), "")[0]
