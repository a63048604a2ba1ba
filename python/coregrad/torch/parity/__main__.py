"""The command line: `python -m coregrad.torch.parity`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from .. import CompilerFaultWarning
from . import report
from .examination import Examination, Settings, examine
from .models import MODELS, Subject

DTYPES = ("float32", "float64", "bfloat16", "float16")

EXAMPLES = """examples:
  python -m coregrad.torch.parity                          all built-in models
  python -m coregrad.torch.parity --model mlp cnn --steps 10
  python -m coregrad.torch.parity --module my_net.py:make --html out/parity.html
  python -m coregrad.torch.parity --dtype float32 float64 --no-grad --json

The factory named by --module takes nothing and returns (model, inputs) or (model, inputs, loss), where
inputs is a tuple and loss a function of the model's output.

Exit code: 0 all is right, 1 something is wrong (with --strict: or runs in PyTorch), 2 bad arguments."""


def parse(
    arguments: list[str] | None,
) -> tuple[argparse.Namespace, dict[str, Callable[[], Subject]]]:
    """The options and the models they choose; bad ones end the program with 2 and a reason."""
    parser = argparse.ArgumentParser(
        prog="python -m coregrad.torch.parity",
        description="Compares models compiled by CoreGrad with eager PyTorch, float64 as the judge: "
        "outputs, gradients, buffers, and parameters after some steps. Allowed is twice eager's own "
        "error and a small slack; integers must be equal.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", nargs="+", metavar="NAME", default=[], help="built-in models")
    parser.add_argument(
        "--module", nargs="+", metavar="FILE:FACTORY", default=[], help="models of your own"
    )
    parser.add_argument("--list", action="store_true", help="list the built-in models")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--rtol", type=float, help="relative slack (default: by dtype)")
    parser.add_argument("--atol", type=float, help="absolute slack (default: by dtype)")
    parser.add_argument(
        "--grad",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="gradients too, or inference only",
    )
    parser.add_argument("--steps", type=int, default=2, help="training steps (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strict", action="store_true", help="what runs in PyTorch is a failure")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    parser.add_argument("--json", action="store_true", help="print JSON in place of text")
    parser.add_argument(
        "--scripts",
        type=Path,
        default=Path("parity_scripts"),
        metavar="FOLDER",
        help="where scripts that reproduce a mismatch go (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.model if name not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    chosen = {name: MODELS[name] for name in options.model}
    try:
        chosen |= {_label(place): load(place) for place in options.module}
    except ValueError as error:
        parser.error(str(error))
    return options, chosen or dict(MODELS)


def _label(place: str) -> str:
    """`folder/file.py:factory` as `file.factory`."""
    path, _, name = place.rpartition(":")
    return f"{Path(path).stem}.{name}"


def load(place: str) -> Callable[[], Subject]:
    """The factory named `file.py:factory`, as a row of the table."""
    path, _, name = place.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path) if path else None
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ValueError(f"--module {place}: want FILE.py:FACTORY, and the file must exist")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dynamo looks functions up by their module
    spec.loader.exec_module(module)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ValueError(f"--module {place}: {path} has no function {name!r}")

    def make() -> Subject:
        made = factory()
        return made if isinstance(made, Subject) else Subject(*made)

    return make


def progress(items: list[Any], quiet: bool) -> Iterable[Any]:
    """A bar on a terminal, nothing elsewhere."""
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        hidden = quiet or not sys.stderr.isatty()
        return tqdm(items, desc="models", unit="model", disable=hidden, leave=False)
    return items


def write_script(result: Examination, folder: Path) -> Path | None:
    """Writes the script that reproduces a mismatch, if there is one."""
    if result.divergence is None or not result.divergence.script:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}_{result.dtype}.py"
    path.write_text(result.divergence.script)
    return path


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Without PyTorch's warnings: graph breaks are in the report."""
    logger = logging.getLogger("torch._dynamo")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CompilerFaultWarning)
        try:
            yield
        finally:
            logger.setLevel(level)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options, chosen = parse(arguments)
    if options.list:
        for name, make in MODELS.items():
            print(f"{name:<18} {(make.__doc__ or '').strip()}")
        return 0
    jobs = [(name, make, dtype) for dtype in options.dtype for name, make in chosen.items()]
    results: list[Examination] = []
    scripts: list[tuple[str, Path]] = []
    say = (lambda *_: None) if options.json else print
    say(report.HEADER)
    with _calm():
        for name, make, dtype in progress(jobs, options.json):
            settings = Settings(
                dtype=getattr(torch, dtype),
                grad=options.grad,
                steps=options.steps,
                absolute=options.atol,
                relative=options.rtol,
                seed=options.seed,
            )
            result = examine(name, make, settings)
            results.append(result)
            say(report.line(result))
            path = write_script(result, options.scripts)
            if path is not None:
                scripts.append((result.name, path))
    if options.json:
        print(json.dumps(report.to_dict(results), indent=2))
    else:
        print(report.text(results))
        for name, path in scripts:
            print(f"reproduce {name}: python {path}")
    if options.html is not None:
        options.html.parent.mkdir(parents=True, exist_ok=True)
        options.html.write_text(report.page(results))
    failed = any(r.failed or (options.strict and r.verdict != "native") for r in results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
