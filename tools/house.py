"""How much a change costs and how tidy the tree is, as a table: `make house`.

Counts stand for themselves; what a kind of change costs is counted by an example that has been made:
the product files that name it.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import lizard
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
LOWERING = Path("python/coregrad/torch/lowering")
LONG_FILE, LONG_FUNCTION = 600, 80
#: Printed by tools/minimax.py, not written.
GENERATED = {"vector_math_tables.h"}


def product_files() -> list[Path]:
    """C++ and Python of the product: src, include and python."""
    return sorted(
        path.relative_to(ROOT)
        for folder in ("src", "include", "python")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".h", ".cpp", ".def", ".py"} and path.name not in GENERATED
    )


def text(path: Path) -> str:
    return (ROOT / path).read_text()


# A standard's list of names, and modules beside functions: no operation needs a line there.
BESIDES = {Path("python/coregrad/array_api.py"), Path("python/coregrad/nn/functions.py")}


def files_that_name(word: str, files: Iterable[Path]) -> int:
    """Models that are compared with PyTorch's use an operation as users do."""
    pattern = re.compile(rf"\b{word}\b", re.IGNORECASE)
    return sum(
        bool(pattern.search(text(f))) for f in files if "parity" not in f.parts and f not in BESIDES
    )


def composites() -> set[str]:
    """The operations that src/ops makes of primitives."""
    declared = re.compile(r"^(?:NodeId|std::\w+<.*?>|\w+) (\w+)\(Graph& ", re.MULTILINE)
    return {
        name
        for path in (ROOT / "src/ops").glob("*.h")
        if path.stem not in {"primitives", "detail", "fold"}
        for name in declared.findall(path.read_text())
    }


def lowered_by_formula() -> set[str]:
    """Lowering functions with a formula of their own: without a call of the graph's method."""
    functions = re.compile(
        r"^@(?:lower|move)\([^\n]*\)\ndef (\w+)\([^\n]*\):\n((?:    .*\n|\n)+)", re.MULTILINE
    )
    found = set()
    for path in (ROOT / LOWERING).glob("*.py"):
        for name, body in functions.findall(path.read_text()):
            if f"b.g.{name}(" not in body:
                found.add(name)
    return found


def long_functions(files: Iterable[Path]) -> list[tuple[int, str]]:
    found = []
    for path in files:
        if path.suffix == ".def":
            continue
        for function in lizard.analyze_file(str(ROOT / path)).function_list:
            if function.length > LONG_FUNCTION:
                found.append((function.length, f"{path}: {function.name}"))
    return sorted(found, reverse=True)


def measure(
    files: list[Path], long: list[tuple[int, str]], twice: set[str]
) -> dict[str, tuple[int, str]]:
    """Row -> value and goal."""
    cpp = [f for f in files if f.parts[0] == "src" and f.suffix in {".h", ".cpp"}]
    lines = {f: text(f).count("\n") for f in files}
    lowering = [f for f in files if f.is_relative_to("python/coregrad/torch")]
    backward = sum(len(re.findall(r"^def \w+_backward\(", text(f), re.MULTILINE)) for f in lowering)
    return {
        "product files for an elementwise primitive (log10)": (
            files_that_name("log10", files),
            "<= 6",
        ),
        "product files for a composite in C++, Python and torch (mish)": (
            files_that_name("mish", files),
            "<= 3",
        ),
        "product files for a torch lowering (as_strided_scatter)": (
            files_that_name("as_strided_scatter", files),
            "<= 2",
        ),
        "formulas that stand twice": (len(twice), "0"),
        "*_backward rows by hand": (backward, "only with saved results"),
        f"files over {LONG_FILE} lines": (sum(n > LONG_FILE for n in lines.values()), "0"),
        f"functions over {LONG_FUNCTION} lines": (len(long), "<= 5"),
        "static_cast<size_t> in src": (
            sum(text(f).count("static_cast<size_t>") for f in cpp),
            "<= 250",
        ),
        "product lines": (sum(lines.values()), "< 45,500"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--names", action="store_true", help="list what is too long or stands twice"
    )
    options = parser.parse_args()
    files = product_files()
    long, twice = long_functions(files), composites() & lowered_by_formula()
    rows = measure(files, long, twice)
    if options.json:
        json.dump({name: value for name, (value, _) in rows.items()}, sys.stdout, indent=1)
        print()
        return
    table = Table("", "today", "goal")
    for name, (value, goal) in rows.items():
        table.add_row(name, f"{value:,}", goal)
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    if not options.names:
        return
    for length, where in long:
        console.print(f"{length:5} lines  {where}", highlight=False)
    for path in files:
        if (n := text(path).count("\n")) > LONG_FILE:
            console.print(f"{n:5} lines  {path}", highlight=False)
    console.print("twice: " + ", ".join(sorted(twice)))


if __name__ == "__main__":
    main()
