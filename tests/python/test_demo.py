"""The digit demo: its gates on data, and a short run of each backend it compares."""

import gzip
import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "mnist_demo.py"
FILES = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
FORBIDDEN = (
    "CLOUD_MNIST_OK",
    "CODEX_CLOUD",
    "MNIST_ALLOW_DOWNLOAD",
    "COREGRAD_MNIST_ROOT",
    "RUSTORCH_MNIST_ROOT",
)


def run(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in FORBIDDEN}
    return subprocess.run(
        [sys.executable, DEMO, *map(str, arguments)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("mnist_demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def idx(array_shape, payload):
    header = struct.pack(f">HBB{len(array_shape)}I", 0, 8, len(array_shape), *array_shape)
    return header + payload


def write_small_mnist(root, count=128):
    """Files in MNIST's format, unpacked, whose images say their label in one bright column."""
    root.mkdir(parents=True, exist_ok=True)
    labels = bytes(i % 10 for i in range(count))
    rows = [bytes(255 if x == 2 * label + 2 else 0 for x in range(28)) * 28 for label in labels]
    for name in FILES:
        is_images = "images" in name
        shape, payload = ((count, 28, 28), b"".join(rows)) if is_images else ((count,), labels)
        (root / f"{name}-ubyte").write_bytes(idx(shape, payload))


def test_without_data_and_permission_it_says_what_to_do(tmp_path):
    done = run("--root", tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    for hint in ("COREGRAD_MNIST_ROOT", "MNIST_ALLOW_DOWNLOAD=1", "--dataset digits"):
        assert hint in done.stderr


def test_training_validation_and_test_images_are_different_ones(demo):
    data = demo.load_data("digits", Path("unused"), 3)
    splits = [data.train, data.validation, data.test]
    assert sum(len(s.labels) for s in splits) == 1797
    seen = [{image.numpy().tobytes() for image in s.images} for s in splits]
    # Scikit-learn's set itself has no image twice.
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_images_shift_by_at_most_one_pixel(demo):
    image = torch.zeros(200, 1, 8, 8)
    image[:, 0, 4, 4] = 1
    moved = demo.shift(image, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    places = {tuple(p[1:].tolist()) for p in moved[:, 0].nonzero()}
    assert places == {(y, x) for y in (3, 4, 5) for x in (3, 4, 5)}


@pytest.mark.parametrize("variable", ["COREGRAD_MNIST_ROOT", "RUSTORCH_MNIST_ROOT"])
def test_both_variables_name_the_folder(tmp_path, variable):
    done = run(**{variable: str(tmp_path / "here")})
    assert done.returncode == 2
    assert str(tmp_path / "here") in done.stderr


def test_files_in_the_folder_need_no_permission(tmp_path, demo, monkeypatch):
    for name in FORBIDDEN:
        monkeypatch.delenv(name, raising=False)
    write_small_mnist(tmp_path / "MNIST" / "raw")
    train, test = demo.load_mnist(tmp_path)
    assert train.images.shape == (128, 1, 28, 28)
    assert train.images.max() == 1
    assert test.labels.tolist() == [i % 10 for i in range(128)]


def test_a_damaged_file_is_refused(tmp_path, demo):
    write_small_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(demo.DataError, match="do not match"):
        demo.load_mnist(tmp_path)


def test_a_packed_file_must_have_the_known_checksum(tmp_path, demo):
    write_small_mnist(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte"
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(demo.DataError, match="SHA-256"):
        demo.load_mnist(tmp_path)


def test_a_short_run_on_digits_is_native_and_reports(tmp_path):
    done = run(
        *("--dataset", "digits", "--epochs", 5, "--rounds", 2, "--json", "--output", tmp_path)
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["operators"]["fallback"] == 0
    assert result["operators"]["native"] > 0
    assert result["test_accuracy"] > 0.5
    assert len(result["validation_accuracy"]) == 5
    assert set(result["step_ms"]) == {"eager", "torch.compile/coregrad"}
    assert (tmp_path / "training.png").stat().st_size > 0
    plans = [p.read_text() for p in tmp_path.glob("*.dot")]
    assert any("forward" in p.name for p in tmp_path.glob("*.dot"))
    assert all(text.startswith("digraph") for text in plans)
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_the_last_lines_are_the_accuracy_and_the_table():
    done = run("--dataset", "digits", "--epochs", 1, "--rounds", 2)
    assert done.returncode == 0, done.stderr
    accuracy, header, *rows = done.stdout.splitlines()[-4:]
    assert accuracy.startswith("test accuracy: ")
    assert accuracy.endswith(" %")
    assert header.split() == ["training", "step", "median", "ms", "vs", "eager"]
    assert [row.split()[0] for row in rows] == ["eager", "torch.compile/coregrad"]
