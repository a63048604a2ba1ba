"""The native examples run as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_digits_are_learnt_saved_and_loaded(tmp_path):
    command = [sys.executable, ROOT / "examples" / "native_digits.py", "--json", "--epochs", "4"]
    command += ["--checkpoint", tmp_path / "digits.rtch"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["accuracy"] > 0.95
    assert result["accuracy_of_saved"] == result["accuracy"]
    assert result["recordings"] == 2  # a whole batch, and the last one
