"""Trains a CNN on handwritten digits through torch.compile(backend="coregrad").

Data, in this order: --dataset digits (images that ship inside scikit-learn, no network); the MNIST
files in --root, $COREGRAD_MNIST_ROOT or $RUSTORCH_MNIST_ROOT; a download, only when one of
CLOUD_MNIST_OK, CODEX_CLOUD or MNIST_ALLOW_DOWNLOAD is 1.

Part of the training images is held back for validation: progress is judged on it, and the defaults
(epochs, learning rate) were chosen by it. The test images are classified once, after training. The
run ends with their accuracy and a table of the time per training step next to PyTorch eager,
measured in turns in the same process.
"""

import argparse
import dataclasses
import gzip
import hashlib
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DOWNLOAD_GATES = ("CLOUD_MNIST_OK", "CODEX_CLOUD", "MNIST_ALLOW_DOWNLOAD")
ROOT_VARIABLES = ("COREGRAD_MNIST_ROOT", "RUSTORCH_MNIST_ROOT")
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MAX_IDX_BYTES = 1 << 28
MNIST_VALIDATION = 5000
# Epochs and first learning rate, chosen by validation accuracy.
SCHEDULES = {"digits": (60, 4e-3), "mnist": (3, 1e-3)}
MAX_EPOCH_LINES = 12
STEPS_PER_TURN = 5


class DataError(Exception):
    """The dataset is missing or not what it should be; the message says what to do."""


@dataclasses.dataclass
class Split:
    """Images, float32 [n, 1, size, size] in [0, 1], and labels, int64 [n]."""

    images: torch.Tensor
    labels: torch.Tensor

    def part(self, chosen: torch.Tensor | slice) -> "Split":
        return Split(self.images[chosen], self.labels[chosen])


@dataclasses.dataclass
class Data:
    train: Split
    validation: Split
    test: Split


# --- Data ---------------------------------------------------------------------------------------


def parse_idx(payload: bytes, name: str) -> np.ndarray:
    """The array of unsigned bytes in an IDX file; DataError unless it is whole."""
    if len(payload) < 4 or payload[:3] != b"\x00\x00\x08":
        raise DataError(f"{name} is not an IDX file of unsigned bytes")
    rank = payload[3]
    header = 4 + 4 * rank
    if not 1 <= rank <= 4 or len(payload) < header:
        raise DataError(f"{name} has a damaged header")
    shape = struct.unpack(f">{rank}I", payload[4:header])
    if math.prod(shape) != len(payload) - header:
        raise DataError(f"{name}: sizes {shape} do not match {len(payload) - header} bytes")
    return np.frombuffer(payload, np.uint8, offset=header).reshape(shape)


def find_file(root: Path, name: str) -> Path | None:
    """The file as MNIST tools leave it: packed or not, in the folder or in MNIST/raw."""
    for folder in (root, root / "MNIST" / "raw", root / "raw"):
        for candidate in (folder / name, folder / name.removesuffix(".gz")):
            if candidate.is_file():
                return candidate
    return None


def read_file(path: Path) -> np.ndarray:
    """Reads one MNIST file; packed ones must have the known SHA-256."""
    payload = path.read_bytes()
    if path.suffix == ".gz":
        if hashlib.sha256(payload).hexdigest() != SHA256[path.name]:
            raise DataError(f"{path} does not have MNIST's SHA-256; remove it and try again")
        with gzip.open(path) as stream:
            payload = stream.read(MAX_IDX_BYTES)
    return parse_idx(payload, str(path))


def download(root: Path) -> None:
    """Fetches what is missing, checks it, and keeps it."""
    root.mkdir(parents=True, exist_ok=True)
    for name, expected in SHA256.items():
        if find_file(root, name):
            continue
        print(f"downloading {name}", file=sys.stderr)
        try:
            with urllib.request.urlopen(MIRROR + name, timeout=60) as response:
                payload = response.read(MAX_IDX_BYTES)
        except OSError as error:
            raise DataError(f"downloading {name} failed: {error}; try --dataset digits") from error
        if hashlib.sha256(payload).hexdigest() != expected:
            raise DataError(f"{name} came with a wrong SHA-256 and was not kept")
        partial = root / (name + ".partial")
        partial.write_bytes(payload)
        partial.replace(root / name)


def load_mnist(root: Path) -> tuple[Split, Split]:
    """The training and the test split; DataError says how to get the files."""
    if any(find_file(root, name) is None for name in SHA256):
        if not any(os.environ.get(gate) == "1" for gate in DOWNLOAD_GATES):
            raise DataError(
                f"no MNIST files in {root}. Put them there, name another folder with "
                f"{ROOT_VARIABLES[0]}, allow the download with {DOWNLOAD_GATES[-1]}=1, or run "
                "with --dataset digits, which needs no files"
            )
        download(root)

    def split(prefix: str) -> Split:
        images = read_file(find_file(root, f"{prefix}-images-idx3-ubyte.gz"))
        labels = read_file(find_file(root, f"{prefix}-labels-idx1-ubyte.gz"))
        if len(images) != len(labels) or labels.max(initial=0) > 9:
            raise DataError(f"the {prefix} images and labels in {root} do not belong together")
        scaled = torch.from_numpy(images.astype(np.float32) / 255).unsqueeze(1)
        return Split(scaled, torch.from_numpy(labels.astype(np.int64)))

    return split("train"), split("t10k")


def hold_back(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """The split without `count` images that the seed chooses, and those."""
    order = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(seed))
    return split.part(order[count:]), split.part(order[:count])


def load_digits(seed: int) -> tuple[Split, Split]:
    """Scikit-learn's 1797 digits of 8 x 8, a fifth of them for testing, chosen by the seed."""
    from sklearn.datasets import load_digits as load

    digits = load()
    images = torch.from_numpy((digits.images / 16).astype(np.float32)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    return hold_back(Split(images, labels), len(labels) // 5, seed)


def load_data(dataset: str, root: Path, seed: int) -> Data:
    """The three splits of a dataset; DataError says how to get missing files."""
    if dataset == "digits":
        rest, test = load_digits(seed)
        held_back = len(rest.labels) // 8
    else:
        rest, test = load_mnist(root)
        held_back = min(MNIST_VALIDATION, len(rest.labels) // 4)
    train, validation = hold_back(rest, held_back, seed + 1)
    return Data(train, validation, test)


# --- Model and training -------------------------------------------------------------------------


class DigitNet(nn.Module):
    """Two convolutions with max-pooling, dropout, and two linear layers."""

    def __init__(self, image_size: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.hidden = nn.Linear(64 * (image_size // 4) ** 2, 128)
        self.output = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = self.dropout(x.flatten(1))
        return self.output(self.dropout(functional.relu(self.hidden(x))))


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by -1, 0 or 1 pixel along both axes; what comes in is black."""
    count, _, rows, columns = images.shape
    down, right = torch.randint(0, 3, (2, count, 1), generator=generator)
    y = (torch.arange(rows) + down).unsqueeze(2)
    x = (torch.arange(columns) + right).unsqueeze(1)
    padded = functional.pad(images, (1, 1, 1, 1))
    return padded[torch.arange(count).reshape(-1, 1, 1), 0, y, x].unsqueeze(1)


def batches(split: Split, size: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Whole batches of shifted images; the seed decides order and shifts."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(split.labels), generator=generator)
    for first in range(0, len(order) - size + 1, size):
        chosen = order[first : first + size]
        yield shift(split.images[chosen], generator), split.labels[chosen]


def make_step(model: Callable, optimizer: torch.optim.Optimizer) -> Callable:
    """One training step: forward, loss, backward, update; returns the loss."""

    def step(images: torch.Tensor, labels: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def accuracy(model: nn.Module, compiled: Callable, split: Split, batch: int) -> float:
    """Fraction of the split that is classified rightly."""
    model.eval()
    right = 0
    with torch.no_grad():
        for first in range(0, len(split.labels), batch):
            part = slice(first, first + batch)
            right += (compiled(split.images[part]).argmax(1) == split.labels[part]).sum().item()
    model.train()
    return right / len(split.labels)


def compare_steps(steps: dict[str, Callable], batch: tuple, rounds: int) -> dict[str, float]:
    """Median milliseconds of each step, measured in turns so that noise meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            # PyTorch's OpenMP threads spin for some milliseconds after eager's last region, on cores
            # that the next one in turn needs; the first step of a turn brings its own state back.
            time.sleep(0.02)
            step(*batch)
            for _ in range(STEPS_PER_TURN):
                start = time.perf_counter()
                step(*batch)
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


# --- Reports ------------------------------------------------------------------------------------


def draw_curve(losses: list[float], accuracies: list[float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, left = pyplot.subplots(figsize=(7, 4))
    left.plot(range(1, len(losses) + 1), losses, color="tab:blue", linewidth=1)
    left.set_xlabel("step")
    left.set_ylabel("training loss", color="tab:blue")
    right = left.twinx()
    ends = [(i + 1) * len(losses) / len(accuracies) for i in range(len(accuracies))]
    right.plot(ends, [100 * a for a in accuracies], "o-", color="tab:orange")
    right.set_ylabel("validation accuracy, %", color="tab:orange")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_plans(backend: str, folder: Path) -> list[str]:
    """Pictures of the compiled graphs with their kernels; none if Graphviz's `dot` is missing."""
    if backend != "coregrad":
        return []
    import coregrad.torch

    pictures = []
    for graph in coregrad.torch.report().graphs:
        dot = graph.to_dot()
        if dot is None:
            continue
        path = folder / f"{graph.name.replace(' ', '_')}.png"
        path.with_suffix(".dot").write_text(dot)
        command = ["dot", "-Tpng", str(path.with_suffix(".dot")), "-o", str(path)]
        try:
            if subprocess.run(command, check=False).returncode == 0:
                pictures.append(path.name)
        except FileNotFoundError:
            break
    return pictures


def backend_counts(backend: str) -> dict | None:
    """How many operators run natively and in PyTorch, as the backend reports it."""
    if backend != "coregrad":
        return None
    import coregrad.torch

    facts = coregrad.torch.report().to_dict()
    return {"native": facts["num_native"], "fallback": facts["num_fallback"],
            "fallbacks": facts["fallbacks"]}  # fmt: skip


def print_summary(result: dict) -> None:
    medians = result["step_ms"]
    counts = result["operators"]
    print(f"first compiled step: {result['compile_seconds']:.2f} s (includes compilation)")
    if counts is not None:
        names = ", ".join(sorted(counts["fallbacks"])) or "none"
        print(f"operators: {counts['native']} native, {counts['fallback']} in PyTorch ({names})")
    print(f"test accuracy: {100 * result['test_accuracy']:.1f} %")
    print(f"{'training step':<22}{'median ms':>10}{'vs eager':>10}")
    for name, value in medians.items():
        print(f"{name:<22}{value:>10.2f}{medians['eager'] / value:>9.2f}x")


# --- Program ------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--root", type=Path, help=f"MNIST folder (default: ${ROOT_VARIABLES[0]})")
    parser.add_argument("--epochs", type=int, help="default: 60 for digits, 3 for MNIST")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, help="at the start; falls to 0 along a cosine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=15, help="turns of measured steps")
    parser.add_argument("--backend", default="coregrad", help="any torch.compile backend")
    parser.add_argument("--output", type=Path, help="folder for pictures and result.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser.parse_args()


def train(arguments: argparse.Namespace, data: Data) -> dict:
    """Trains, evaluates and measures; returns everything there is to report."""
    from tqdm import tqdm

    size, batch = data.train.images.shape[-1], arguments.batch_size
    default_epochs, default_lr = SCHEDULES[arguments.dataset]
    epochs, lr = arguments.epochs or default_epochs, arguments.lr or default_lr
    torch.manual_seed(arguments.seed)
    model = DigitNet(size)
    twin = DigitNet(size)
    twin.load_state_dict(model.state_dict())
    compiled = torch.compile(model, backend=arguments.backend)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, epochs * (len(data.train.labels) // batch)
    )
    step = make_step(compiled, optimizer)
    eager_step = make_step(twin, torch.optim.Adam(twin.parameters(), lr=lr))

    quiet = arguments.json or not sys.stderr.isatty()
    losses: list[float] = []
    accuracies: list[float] = []
    compile_seconds = 0.0
    for epoch in range(epochs):
        epoch_batches = list(batches(data.train, batch, arguments.seed * 1000 + epoch))
        bar = tqdm(epoch_batches, desc=f"epoch {epoch + 1}/{epochs}", disable=quiet, leave=False)
        for images, labels in bar:
            start = time.perf_counter()
            losses.append(step(images, labels))
            if len(losses) == 1:
                compile_seconds = time.perf_counter() - start
            schedule.step()
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
        accuracies.append(accuracy(model, compiled, data.validation, batch))
        if not arguments.json and (epoch + 1) % math.ceil(epochs / MAX_EPOCH_LINES) == 0:
            mean = statistics.fmean(losses[-len(epoch_batches) :])
            print(f"epoch {epoch + 1}/{epochs}: loss {mean:.4f}, "
                  f"validation accuracy {100 * accuracies[-1]:.1f} %", flush=True)  # fmt: skip

    test_accuracy = accuracy(model, compiled, data.test, batch)

    measured = next(batches(data.train, batch, 1))
    eager_step(*measured)
    steps = {"eager": eager_step, f"torch.compile/{arguments.backend}": step}
    medians = compare_steps(steps, measured, arguments.rounds)
    result = {
        "dataset": arguments.dataset,
        "backend": arguments.backend,
        "epochs": epochs,
        "validation_accuracy": accuracies,
        "test_accuracy": test_accuracy,
        "final_loss": losses[-1],
        "compile_seconds": compile_seconds,
        "step_ms": medians,
        "operators": backend_counts(arguments.backend),
        "threads": torch.get_num_threads(),
    }
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        draw_curve(losses, accuracies, arguments.output / "training.png")
        result["pictures"] = [
            "training.png",
            *draw_plans(arguments.backend, arguments.output),
        ]
        (arguments.output / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def main() -> int:
    arguments = parse_arguments()
    root = arguments.root or next(
        (Path(os.environ[v]) for v in ROOT_VARIABLES if os.environ.get(v)), Path("data/mnist")
    )
    try:
        data = load_data(arguments.dataset, root, arguments.seed)
    except DataError as error:
        print(f"mnist_demo: {error}", file=sys.stderr)
        return 2
    if arguments.backend == "coregrad":
        import coregrad.torch  # noqa: F401  (registers the backend where nothing is installed)
    result = train(arguments, data)
    if arguments.json:
        print(json.dumps(result))
    else:
        print_summary(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
