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
