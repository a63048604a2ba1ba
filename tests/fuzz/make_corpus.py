"""Writes small valid files for the fuzzer to begin with: make_corpus.py <folder>."""

import sys
from pathlib import Path

import coregrad as cg


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"a": cg.ones((2, 3)), "b": cg.zeros((0,)), "c": cg.arange(0, 3)}
    states = [tensors, {"t": (1, 0.5, None, True, "x"), 7: [tensors["a"]]}, [], 3]
    for number, state in enumerate(states):
        cg.save(state, folder / "state.rtch")
        data = (folder / "state.rtch").read_bytes()
        (folder / f"checkpoint_{number}").write_bytes(b"\x01" + data)
    (folder / "state.rtch").unlink()
    cg.save_safetensors(tensors, folder / "state.safetensors", {"k": "v"})
    data = (folder / "state.safetensors").read_bytes()
    (folder / "safetensors").write_bytes(b"\x00" + data)
    (folder / "state.safetensors").unlink()


if __name__ == "__main__":
    main()
