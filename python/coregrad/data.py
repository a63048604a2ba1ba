"""Data: things with a length and items, and a loader that makes batches of them.

>>> import coregrad as cg, numpy as np
>>> from coregrad.data import DataLoader, TensorDataset
>>> dataset = TensorDataset(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 0]))
>>> [(x.shape, y.tolist()) for x, y in DataLoader(dataset, batch_size=2)]
[((2, 2), [0, 1]), ((1, 2), [0])]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from . import _core
from ._core import Tensor
from ._creation import from_numpy


class Dataset:
    """What a loader reads: subclasses define `__len__` and `__getitem__`."""

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no __len__()")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__()")


class TensorDataset(Dataset):
    """Arrays or tensors of one length; an item has one row of each."""

    def __init__(self, *arrays: np.ndarray | Tensor) -> None:
        self.arrays = tuple(a.numpy() if isinstance(a, Tensor) else np.asarray(a) for a in arrays)
        lengths = [len(a) for a in self.arrays if a.ndim > 0]
        if not lengths or len(lengths) != len(self.arrays) or len(set(lengths)) != 1:
            raise _core.ShapeError(
                f"TensorDataset: needs arrays of one length, got {[a.shape for a in self.arrays]}"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(a[index] for a in self.arrays)

    def take(self, indices: np.ndarray | slice) -> tuple[np.ndarray, ...]:
        """Rows as a batch, at once: a view where they are a slice."""
        return tuple(a[indices] for a in self.arrays)


class Subset(Dataset):
    """Some items of another dataset."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    @property
    def take(self) -> Callable[[np.ndarray | slice], Any]:
        """Rows as a batch, where the dataset can give them."""
        take = self.dataset.take  # AttributeError if it can not
        return lambda indices: take(self.indices[indices])


def random_split(dataset: Any, lengths: Sequence[int | float], seed: int = 0) -> list[Subset]:
    """Split into parts of so many items, or of such fractions, at random by a seed.

    Fractions must add up to 1; what rounding leaves over goes to the first parts.
    """
    n = len(dataset)
    if any(isinstance(x, float) for x in lengths):
        if abs(sum(lengths) - 1) > 1e-9 or min(lengths) < 0:
            raise _core.ValueError(f"random_split: fractions must add up to 1, got {list(lengths)}")
        counts = [int(n * x) for x in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(x) for x in lengths]
        if sum(counts) != n or min(counts) < 0:
            raise _core.ValueError(f"random_split: {list(lengths)} do not add up to {n} items")
    order = np.random.default_rng(seed).permutation(n)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(counts)[:-1])]


def stack(items: Sequence[Any]) -> Any:
    """Make a batch of items: arrays and numbers are stacked, tuples, lists and dicts item by item."""
    first = items[0]
    if isinstance(first, dict):
        return {key: stack([item[key] for item in items]) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(stack(list(column)) for column in zip(*items, strict=True))
    if isinstance(first, str):
        return list(items)
    if isinstance(first, Tensor):
        return np.stack([item.numpy() for item in items])
    if isinstance(first, float):
        return np.asarray(items, np.float32)
    return np.stack([np.asarray(item) for item in items])


def as_tensors(batch: Any) -> Any:
    """Give a batch's arrays as tensors over the same memory."""
    if isinstance(batch, np.ndarray):
        return from_numpy(batch)
    if isinstance(batch, dict):
        return {key: as_tensors(value) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)) and not all(isinstance(v, str) for v in batch):
        return type(batch)(as_tensors(value) for value in batch)
    return batch


class DataLoader:
    """Gives batches of a dataset, one pass for each `iter()`.

    Args:
        dataset: has a length and items; one with `take(indices)` gives whole batches at once.
        batch_size: items of a batch; the last one has what is left, unless `drop_last`.
        shuffle: a new order at each pass, by `seed` and the number of the pass alone.
        collate_fn: makes a batch of a list of items; by default they are stacked.
        num_workers: threads that make batches ahead, in order; 0 makes them when they are asked for.
        prefetch_factor: batches that each of them is ahead.
        convert: what each batch goes through last: by default its arrays become tensors. None gives
            NumPy arrays, `torch.from_numpy` on trees of one's own suits a loop of PyTorch's.

    `state_dict()` says where a pass is; a loader that loads it goes on there.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[Sequence[Any]], Any] | None = None,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        seed: int = 0,
        convert: Callable[[Any], Any] | None = as_tensors,
    ) -> None:
        if batch_size < 1 or num_workers < 0 or prefetch_factor < 1:
            raise _core.ValueError(
                f"DataLoader: batch_size {batch_size} and prefetch_factor {prefetch_factor} must be"
                f" positive, num_workers {num_workers} not negative"
            )
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self._collate, self._convert = collate_fn, convert
        self._take = getattr(dataset, "take", None) if collate_fn is None else None
        self._epoch, self._position = 0, 0

    def __len__(self) -> int:
        """How many batches a pass has."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def state_dict(self) -> dict[str, int]:
        """Where it is: the number of the pass, and the batches that were given of it."""
        return {"epoch": self._epoch, "position": self._position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loader of the same data was: the next pass gives what is left."""
        self._epoch, self._position = state["epoch"], state["position"]
        self.seed = state["seed"]

    def __iter__(self) -> Iterator[Any]:
        order = None
        if self.shuffle:
            order = np.random.default_rng([self.seed, self._epoch]).permutation(len(self.dataset))
        numbers = range(self._position, len(self))
        batches = self._ahead(numbers, order) if self.num_workers else self._now(numbers, order)
        for number, batch in zip(numbers, batches, strict=True):
            self._position = number + 1
            yield batch
        self._epoch, self._position = self._epoch + 1, 0

    def _batch(self, number: int, order: np.ndarray | None) -> Any:
        first = number * self.batch_size
        rows = slice(first, min(first + self.batch_size, len(self.dataset)))
        if self._take is not None:
            batch = self._take(rows if order is None else order[rows])
        else:
            chosen = range(rows.start, rows.stop) if order is None else order[rows]
            batch = (self._collate or stack)([self.dataset[int(i)] for i in chosen])
        return batch if self._convert is None else self._convert(batch)

    def _now(self, numbers: range, order: np.ndarray | None) -> Iterator[Any]:
        return (self._batch(number, order) for number in numbers)

    def _ahead(self, numbers: range, order: np.ndarray | None) -> Iterator[Any]:
        pending: deque[Future[Any]] = deque()
        waiting = iter(numbers)
        with ThreadPoolExecutor(self.num_workers, "coregrad-data") as pool:
            try:
                for number in waiting:
                    pending.append(pool.submit(self._batch, number, order))
                    if len(pending) >= self.num_workers * self.prefetch_factor:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
