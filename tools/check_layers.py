"""Checks that #include lines respect the layers of the source tree.

`ALLOWED[a]` names the layers that files of layer `a` may include directly; what those may include
is allowed as well. LLVM may be used only by code generation, and nothing of Python below `python`.
"""

import re
import sys
from pathlib import Path

ALLOWED = {
    "coregrad": [],  # include/coregrad, the public headers
    "base": ["coregrad"],
    "ir": ["base"],
    "ops": ["ir"],
    "grad": ["ir", "ops"],
    "interp": ["ir"],
    "runtime": ["base"],
    "kernel": ["ir"],
    "schedule": ["kernel"],
    "schedule/contract": ["kernel"],
    "codegen/ir": ["kernel", "runtime"],
    "codegen/math": ["codegen/ir"],
    "codegen/values": ["codegen/math"],
    "codegen/loops": ["codegen/values", "schedule"],
    "codegen/contract": ["codegen/values", "schedule/contract"],
    "codegen/jit": ["codegen/loops", "codegen/contract"],
    "compile": ["ops", "interp", "codegen/jit"],
    "tensor": ["ops", "grad", "compile"],
    "nn": ["tensor"],
    "optim": ["tensor"],
    "data": ["tensor"],
    "checkpoint": ["tensor"],
    "cli": ["nn", "optim", "data", "checkpoint"],
    "python": ["nn", "optim", "data", "checkpoint"],
}
EXTERNAL_OWNERS = {
    "llvm": {"codegen"},
    "llvm-c": {"codegen"},
    "nanobind": {"python"},
    "Python.h": {"python"},
    "CLI": {"cli"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def closure(layer: str) -> set[str]:
    """The layer itself and everything it may include, directly or through others."""
    seen: set[str] = set()
    pending = [layer]
    while pending:
        current = pending.pop()
        if current not in seen:
            seen.add(current)
            pending.extend(ALLOWED[current])
    return seen


def layer_of(path: Path) -> str | None:
    """The layer that a file belongs to; None for files outside the layered tree."""
    parts = path.parts
    if parts[0] == "include" or parts[0] == "python":
        return {"include": "coregrad", "python": "python"}[parts[0]]
    return "/".join(parts[1:-1]) if parts[0] == "src" and len(parts) > 2 else None


def problems_in(path: Path, text: str) -> list[str]:
    """One line for each include of `text` that the file at `path` may not have."""
    layer = layer_of(path)
    if layer is None:
        return []
    if layer not in ALLOWED:
        return [f"{path}: unknown layer '{layer}'; add it to ALLOWED in tools/check_layers.py"]
    may_include = closure(layer)
    problems = []
    for match in INCLUDE.finditer(text):
        quote, target = match.groups()
        top, _, _ = target.partition("/")
        folder = target.rpartition("/")[0]
        line = text.count("\n", 0, match.start(2)) + 1
        if quote == '"' and folder in ALLOWED and folder not in may_include:
            problems.append(f"{path}:{line}: layer '{layer}' may not include {target}")
        owners = EXTERNAL_OWNERS.get(top)
        if owners is not None and layer.split("/")[0] not in owners:
            problems.append(f"{path}:{line}: only {', '.join(sorted(owners))} may include {target}")
    return problems


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    problems = []
    files = 0
    for folder in ("src", "include", "python"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".h", ".cpp"}:
                files += 1
                problems += problems_in(path.relative_to(root), path.read_text())
    print("\n".join(problems) if problems else f"layers: {files} files, no violation")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
