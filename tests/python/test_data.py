"""coregrad.data: batches, shuffling by seed, threads, going on in the middle of a pass."""

import threading
import time

import numpy as np
import pytest

import coregrad as cg
from coregrad.data import DataLoader, Dataset, Subset, TensorDataset, random_split

X = np.arange(23 * 3, dtype=np.float32).reshape(23, 3)
Y = np.arange(23)


class Squares(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        if not 0 <= index < 10:
            raise IndexError(index)
        return {"n": index, "row": np.full(2, index**2, np.float32), "name": f"i{index}", "f": 0.5}


def rows(loader):
    return [y.tolist() for _, y in loader]


def test_batches_have_all_items_once():
    for workers in (0, 1, 3):
        loader = DataLoader(TensorDataset(X, cg.tensor(Y)), 4, num_workers=workers)
        assert len(loader) == 6
        batches = list(loader)
        assert isinstance(batches[0][0], cg.Tensor)
        np.testing.assert_array_equal(np.concatenate([x.numpy() for x, _ in batches]), X)
        assert rows(loader)[-1] == [20, 21, 22]
        assert len(rows(DataLoader(TensorDataset(X, Y), 4, drop_last=True))) == 5


def test_plain_slices_are_views():
    x, _ = next(iter(DataLoader(TensorDataset(X, Y), 8)))
    assert np.shares_memory(x.numpy(), X)


def test_the_order_is_the_seeds():
    def passes(seed, workers=0):
        loader = DataLoader(TensorDataset(X, Y), 5, shuffle=True, seed=seed, num_workers=workers)
        return [rows(loader) for _ in range(3)]

    first = passes(1)
    assert first == passes(1) == passes(1, workers=2)
    assert first != passes(2)
    assert first[0] != first[1]
    assert all(sorted(i for batch in p for i in batch) == list(range(23)) for p in first)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_goes_on_where_it_was(workers):
    def make():
        return DataLoader(TensorDataset(X, Y), 4, shuffle=True, seed=3, num_workers=workers)

    whole = make()
    expected = rows(whole) + rows(whole)
    loader = make()
    got = rows(loader)
    for k, (_, y) in enumerate(loader):
        got.append(y.tolist())
        if k == 2:
            break
    state = loader.state_dict()
    assert state == {"epoch": 1, "position": 3, "seed": 3}
    again = make()
    again.load_state_dict(state)
    got += rows(again)
    assert got == expected
    assert rows(again) == rows(whole)  # the third pass


def test_items_of_any_form_are_stacked():
    for workers in (0, 2):
        batch = next(iter(DataLoader(Squares(), 3, num_workers=workers)))
        assert batch["n"].tolist() == [0, 1, 2]
        assert batch["row"].tolist() == [[0, 0], [1, 1], [4, 4]]
        assert batch["name"] == ["i0", "i1", "i2"]
        assert batch["f"].dtype == cg.float32
    loader = DataLoader(Squares(), 2, collate_fn=lambda items: len(items), convert=None)
    assert list(loader) == [2] * 5
    raw = next(iter(DataLoader(TensorDataset(X), 2, convert=None)))
    assert isinstance(raw[0], np.ndarray)


def test_splits():
    parts = random_split(TensorDataset(X, Y), [0.5, 0.3, 0.2], seed=1)
    assert [len(p) for p in parts] == [12, 7, 4]
    assert sorted(int(i) for p in parts for i in p.indices) == list(range(23))
    got = rows(DataLoader(parts[1], 7, shuffle=True))[0]
    assert sorted(got) == sorted(int(parts[1][i][1]) for i in range(7))
    assert [len(p) for p in random_split(Squares(), [4, 6])] == [4, 6]
    assert Subset(Squares(), [7])[0]["n"] == 7
    for lengths in ([0.5, 0.6], [3, 4]):
        with pytest.raises(cg.ValueError, match="add up to"):
            random_split(Squares(), lengths)


def test_workers_are_ahead_and_end():
    made = []

    class Slow(Squares):
        def __getitem__(self, index):
            made.append(threading.current_thread().name)
            time.sleep(0.001)
            return super().__getitem__(index)

    loader = DataLoader(Slow(), 1, num_workers=2, prefetch_factor=2)
    iterator = iter(loader)
    next(iterator)
    assert 1 <= len(made) <= 5
    assert all(name.startswith("coregrad-data") for name in made)
    iterator.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("coregrad-data")]


def test_errors_of_items_arrive():
    class Bad(Squares):
        def __getitem__(self, index):
            if index == 5:
                raise KeyError("five")
            return super().__getitem__(index)

    for workers in (0, 2):
        seen = []
        with pytest.raises(KeyError, match="five"):
            seen.extend(b["n"].tolist() for b in DataLoader(Bad(), 2, num_workers=workers))
    with pytest.raises(cg.ShapeError, match="arrays of one length"):
        TensorDataset(X, Y[:-1])
    with pytest.raises(cg.ValueError, match="batch_size 0"):
        DataLoader(Squares(), 0)
    with pytest.raises(NotImplementedError, match="defines no __len__"):
        len(Dataset())


def test_a_model_trains_from_a_loader():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 4)).astype(np.float32)
    y = (x @ np.array([1, -2, 3, 0.5], np.float32))[:, None]
    layer = cg.nn.Linear(4, 1)
    optimizer = cg.optim.SGD(layer.parameters(), lr=0.1)

    @cg.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = cg.mse_loss(layer(x), y).realize()
        loss.backward()
        optimizer.step()
        return loss

    loader = DataLoader(TensorDataset(x, y), 32, shuffle=True, num_workers=1)
    losses = [step(*batch).item() for _ in range(10) for batch in loader]
    assert losses[-1] < 1e-3 * losses[0]
