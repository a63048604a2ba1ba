"""Saving and loading: checkpoints, safetensors and NumPy's archives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._core import Tensor
from ._creation import tensor


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Save tensors, numbers, text and None in nested lists, tuples and dicts.

    The file is there as a whole, and on the disk, when this returns; if it fails, the file that was
    there before stays. A path that ends in `.safetensors` or `.npz` takes a dict of tensors and writes
    that format; every other one is a checkpoint (docs/checkpoint_format.md). NumPy arrays are saved as
    tensors. Raises ValueError for what can not be saved and IoError where the system refuses.

    >>> import coregrad as cg, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "state.rtch")
    >>> cg.save({"step": 3, "weights": [cg.ones((2,))]}, path)
    >>> cg.load(path)["weights"][0].tolist()
    [1.0, 1.0]
    """
    path = os.fspath(path)
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        save_safetensors(obj, path)
    elif suffix == ".npz":
        _save_npz(obj, path)
    else:
        _core._save_checkpoint(_arrays_as_tensors(obj), path)


def load(path: str | os.PathLike[str], mmap: bool = False, verify: bool = True) -> Any:
    """Load what save() wrote; `.safetensors` and `.npz` files give dicts of tensors.

    With `mmap`, tensors are the pages of the file, which must not be overwritten in place while they
    are used (saving again makes another file). `verify` compares a checkpoint's hashes, which reads all
    of it.
    Nothing in a file is run. Raises CheckpointError for a file that is damaged or of another format.
    """
    path = os.fspath(path)
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        return load_safetensors(path, mmap)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: tensor(archive[name]) for name in archive.files}
    return _core._load_checkpoint(path, mmap, verify)


def save_safetensors(
    tensors: Mapping[str, Tensor | np.ndarray],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Save named tensors in the safetensors format, atomically."""
    named = list(_named(tensors, "save_safetensors").items())
    _core._save_safetensors(named, dict(metadata or {}), os.fspath(path))


def load_safetensors(path: str | os.PathLike[str], mmap: bool = False) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file by name; see load() for `mmap`."""
    return dict(_core._load_safetensors(os.fspath(path), mmap)[0])


def safetensors_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Give the texts that a safetensors file has besides its tensors."""
    return _core._load_safetensors(os.fspath(path), True)[1]


def _named(tensors: Any, operation: str) -> dict[str, Tensor]:
    if not isinstance(tensors, Mapping):
        raise _core.ValueError(
            f"{operation}: needs a dict of tensors, got {type(tensors).__name__}"
        )
    named = {name: _arrays_as_tensors(value) for name, value in tensors.items()}
    for name, value in named.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _core.ValueError(
                f"{operation}: {name!r} must be text that names a tensor, got {type(value).__name__}"
            )
    return named


def _save_npz(tensors: Any, path: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    arrays = {name: value.numpy() for name, value in _named(tensors, "save").items()}
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _arrays_as_tensors(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return tensor(np.asarray(value))
    if type(value) in (list, tuple):
        return type(value)(_arrays_as_tensors(v) for v in value)
    if isinstance(value, dict):
        return {k: _arrays_as_tensors(v) for k, v in value.items()}
    return value


def _from_pickle(data: bytes, requires_grad: bool) -> Tensor:
    result = _core._from_bytes(data)
    if requires_grad:
        result.requires_grad = True
    return result


def _reduce(self: Tensor) -> tuple[Any, ...]:
    """Pickle as a checkpoint in memory, without the way a tensor was computed."""
    return _from_pickle, (_core._to_bytes(self), self.requires_grad)


Tensor.__reduce__ = _reduce  # type: ignore[method-assign]
