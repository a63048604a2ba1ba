"""The coregrad program, run as a user runs it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("COREGRAD_PROGRAM", ROOT / "build" / "coregrad"))


@pytest.fixture(autouse=True, scope="module")
def _program_is_built():
    assert PROGRAM.exists(), f"{PROGRAM} is not built"


def run(*arguments, **environment):
    return subprocess.run(
        [PROGRAM, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(*arguments, **environment):
    done = run("train", "--json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_info_names_the_version_and_the_threads():
    done = run("info", "--json", COREGRAD_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["version"] == run("--version").stdout.strip()
    assert facts["threads"] == 2


def test_training_learns_the_digits():
    result = train("--epochs", "10")
    assert len(result["losses"]) == 10
    assert result["losses"][-1] < 0.2 * result["losses"][0]
    assert result["test_accuracy"] >= 0.95


def test_the_seed_decides_the_run():
    first, second = train("--epochs", "1"), train("--epochs", "1")
    other = train("--epochs", "1", "--seed", "7")
    assert first["losses"] == second["losses"]
    assert first["test_accuracy"] == second["test_accuracy"]
    assert first["losses"] != other["losses"]


def test_the_interpreter_agrees_with_compiled_plans():
    # One step of all samples at once: the interpreter is slow.
    arguments = ("--epochs", "2", "--batch-size", "1024", "--hidden", "16")
    plan = train(*arguments)
    reference = train(*arguments, COREGRAD_EXECUTOR="interpreter")
    assert plan["losses"] == pytest.approx(reference["losses"], rel=1e-5)


def test_text_output_ends_with_the_accuracy():
    lines = run("train", "--epochs", "1").stdout.splitlines()
    assert lines[0].startswith("epoch 1/1: loss ")
    assert lines[-1].startswith("test accuracy: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--images", "nowhere.idx"), "nowhere.idx"),
        (("train", "--batch-size", "100000"), "do not fill a batch"),
        (("train", "--epochs", "0"), "--epochs"),
        (("swim",), "subcommand"),
        ((), "subcommand"),
    ],
)
def test_a_mistake_gets_a_message_and_a_failing_exit_code(arguments, message):
    done = run(*arguments)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout


def test_an_unknown_executor_is_refused():
    done = run("train", "--epochs", "1", COREGRAD_EXECUTOR="magic")
    assert done.returncode == 1
    assert "expected 'plan', 'unfused' or 'interpreter', got 'magic'" in done.stderr


def test_checkpoints_are_looked_at(tmp_path):
    import coregrad as cg

    one, other = tmp_path / "one.rtch", tmp_path / "other.rtch"
    state = {"model": {"w": cg.ones((2, 3)), "b": cg.zeros((3,))}, "step": 7}
    cg.save(state, one)
    done = run("ckpt", "inspect", one)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "model.w",
        "float32",
        "[2,3]",
        "24",
        "bytes",
        "model.b",
        "float32",
        "[3]",
        "12",
        "bytes",
        "step",
        "7",
        "2",
        "tensors,",
        "36",
        "bytes",
    ]
    facts = json.loads(run("ckpt", "inspect", one, "--json").stdout)
    assert (facts["tensors"], facts["bytes"], len(facts["entries"])) == (2, 36, 3)

    state["model"]["w"] = state["model"]["w"] + 1e-3
    state["extra"] = "x"
    cg.save(state, other)
    done = run("ckpt", "diff", one, other)
    assert done.returncode == 1
    assert "model.w: values differ by up to 0.001" in done.stdout
    assert "extra: only in the second" in done.stdout
    assert "2 of 4 entries differ" in done.stdout
    assert run("ckpt", "diff", one, one).returncode == 0
    assert list(
        json.loads(run("ckpt", "diff", one, other, "--tolerance", "0.01", "--json").stdout)
    ) == ["extra"]

    whole = run("ckpt", "verify", one, other)
    assert whole.returncode == 0
    assert whole.stdout.count("whole") == 2
    data = bytearray(one.read_bytes())
    data[-1] ^= 1
    one.write_bytes(data)
    damaged = run("ckpt", "verify", one, other)
    assert damaged.returncode == 1
    assert "tensor model.b is damaged" in damaged.stdout
    missing = run("ckpt", "inspect", tmp_path / "none")
    assert missing.returncode == 1
    assert "No such file" in missing.stderr


def test_checkpoints_are_converted(tmp_path):
    import coregrad as cg

    rtch, safe = tmp_path / "a.rtch", tmp_path / "a.safetensors"
    cg.save({"layer": {"w": cg.ones((2,))}}, rtch)
    assert run("ckpt", "convert", rtch, safe).returncode == 0
    assert cg.load(safe)["layer.w"].tolist() == [1, 1]
    back = tmp_path / "b.rtch"
    assert run("ckpt", "convert", safe, back).returncode == 0
    assert cg.load(back)["layer.w"].tolist() == [1, 1]
    cg.save({"w": cg.ones((2,)), "step": 3}, rtch)
    refused = run("ckpt", "convert", rtch, safe)
    assert refused.returncode == 1
    assert "step is no tensor" in refused.stderr
