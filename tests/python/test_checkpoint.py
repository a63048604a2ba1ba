"""Saving and loading from Python; the safetensors library and NumPy are the judges of their formats."""

import copy
import math
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import coregrad as cg
from coregrad import nn, optim


def equal(a, b):
    if isinstance(a, cg.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a.numpy(), b.numpy())
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and a == b


STATE = {
    "model": {"weight": cg.ones((2, 3)), "bias": cg.zeros((3,))},
    "optimizer": {"state": {0: {"step": 7, "exp_avg": cg.ones((2,)) * 0.1}}, "betas": (0.9, 0.999)},
    "numbers": [1, -(2**63), 0.1, math.inf, math.nan, True, None, "ä\n", -0.0],
    "empty": [{}, [], ()],
}


def test_a_state_comes_back(tmp_path):
    path = tmp_path / "state.rtch"
    cg.save(STATE, path)
    assert equal(cg.load(path), STATE)
    assert equal(cg.load(str(path), mmap=True, verify=False), STATE)
    cg.save({"array": np.arange(4, dtype=np.int16), "scalar": np.float32(2)}, path)
    loaded = cg.load(path)
    assert loaded["array"].dtype == cg.int16
    assert loaded["scalar"].item() == 2
    assert os.listdir(tmp_path) == ["state.rtch"]


def test_what_can_not_be_saved_is_named(tmp_path):
    path = tmp_path / "state.rtch"
    with pytest.raises(cg.ValueError, match=r"the value\['a'\]\[1\] is a set"):
        cg.save({"a": [1, {2}]}, path)
    with pytest.raises(cg.ValueError, match="neither text nor a whole number"):
        cg.save({1.5: 2}, path)
    with pytest.raises(cg.ValueError, match="beyond int64"):
        cg.save(2**63, path)
    endless = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        cg.save(endless, path)
    with pytest.raises(cg.IoError, match="No such file"):
        cg.save(1, tmp_path / "no" / "folder")
    assert not path.exists()


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "state.rtch"
    cg.save(STATE, path)
    data = path.read_bytes()
    for changed in (b"", data[:-1], data + b"x", data.replace(b"float32", b"float64", 1)):
        path.write_bytes(changed)
        with pytest.raises(cg.CheckpointError, match=r"state\.rtch"):
            cg.load(path)


def test_training_resumes_bitwise(tmp_path):
    def step(layer, optimizer, k):
        rng = np.random.default_rng(k)
        x, y = cg.tensor(rng.random((8, 4), np.float32)), cg.tensor(rng.random((8, 2), np.float32))
        optimizer.zero_grad()
        cg.mse_loss(layer(x), y).realize().backward()
        optimizer.step()

    cg.manual_seed(1)
    layer = nn.Linear(4, 2)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    for k in range(3):
        step(layer, optimizer, k)
    path = tmp_path / "state.rtch"
    cg.save(dict(layer.named_parameters()), path)
    for k in range(3, 6):
        step(layer, optimizer, k)
    again = nn.Linear(4, 2)
    for name, parameter in again.named_parameters():
        parameter.assign(cg.load(path)[name])
    optimizer = optim.SGD(again.parameters(), lr=0.1)
    for k in range(3, 6):
        step(again, optimizer, k)
    for one, other in zip(layer.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_safetensors_agree_with_the_library(tmp_path):
    rng = np.random.default_rng(0)
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    dtypes = [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64]
    dtypes += [np.float16, np.float32, np.float64]
    for _ in range(200):
        arrays = {}
        for i in range(rng.integers(0, 8)):
            shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
            name = "".join(rng.choice(list('ab.ä_"\\ 0'), rng.integers(1, 6))) + str(i)
            arrays[name] = np.asarray(rng.random(shape) * 9).astype(rng.choice(dtypes))
        metadata = {"format": "np", "k": "ü"} if rng.random() < 0.5 else None
        cg.save_safetensors({k: cg.tensor(v) for k, v in arrays.items()}, ours, metadata)
        safetensors.numpy.save_file(arrays, theirs, metadata)
        assert cg.safetensors_metadata(ours) == cg.safetensors_metadata(theirs) == (metadata or {})
        for loaded in (
            safetensors.numpy.load_file(ours),
            cg.load(theirs),
            cg.load(theirs, mmap=True),
        ):
            assert loaded.keys() == arrays.keys()
            for name, array in arrays.items():
                got = loaded[name] if isinstance(loaded[name], np.ndarray) else loaded[name].numpy()
                assert got.dtype == array.dtype
                np.testing.assert_array_equal(got, array)


def test_npz_archives(tmp_path):
    path = tmp_path / "arrays.npz"
    cg.save({"a": cg.arange(0, 5), "b": np.eye(2)}, path)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(5))
    assert cg.load(path)["b"].tolist() == [[1, 0], [0, 1]]
    with pytest.raises(cg.ValueError, match="needs a dict of tensors"):
        cg.save([1], path)
    with pytest.raises(cg.ValueError, match="must be text that names a tensor"):
        cg.save({"a": 1}, tmp_path / "x.safetensors")


def test_tensors_are_pickled_and_copied():
    for t in (cg.tensor([1.5, 2]), cg.zeros((0, 2)), cg.ones((2, 2)).cast(cg.bfloat16) * 3):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps({"t": t}, protocol))["t"]
            assert again.dtype == t.dtype
            assert again.cast(cg.float32).tolist() == t.cast(cg.float32).tolist()
    w = cg.tensor([1.0], requires_grad=True)
    assert pickle.loads(pickle.dumps(w)).requires_grad
    deep = copy.deepcopy([w, w])
    assert deep[0] is deep[1]
    assert deep[0] is not w
    assert deep[0].tolist() == [1.0]


def _double(x):
    return x * 2


def test_tensors_reach_other_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_double, [cg.tensor([3.0])])[0].tolist() == [6.0]


def test_a_checkpoint_runs_nothing(tmp_path):
    path = tmp_path / "state.rtch"
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(cg.CheckpointError, match="no checkpoint"):
        cg.load(path)
    code = f"import coregrad as cg; cg.load({str(path)!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "CheckpointError" in ran.stderr
