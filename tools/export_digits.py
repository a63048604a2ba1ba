"""Writes scikit-learn's handwritten digits (1797 images of 8 x 8, 10 classes) as IDX files.

The files under data/ were made by this script; grey values 0..16 are scaled to 0..255.
"""

import struct
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes an array of unsigned bytes."""
    header = bytes([0, 0, 0x08, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data")
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    write_idx(folder / "digits-images.idx", np.round(digits.images * (255 / 16)))
    write_idx(folder / "digits-labels.idx", digits.target)
    print(f"wrote {len(digits.target)} digits to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
