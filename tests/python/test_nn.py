"""coregrad.nn: PyTorch's state_dicts load and give PyTorch's outputs; subclasses, hooks, modes."""

import numpy as np
import pytest
import torch

import coregrad as cg
from coregrad import nn


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def numpy_state(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


PAIRS = {
    "linear": (lambda n: n.Linear(5, 3), (4, 5)),
    "linear_no_bias": (lambda n: n.Linear(5, 3, bias=False), (2, 4, 5)),
    "conv1d": (lambda n: n.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv2d": (lambda n: n.Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2), (2, 4, 7, 6)),
    "conv2d_same": (lambda n: n.Conv2d(3, 5, 3, padding="same", dilation=2), (1, 3, 8, 8)),
    "conv3d": (lambda n: n.Conv3d(2, 3, 2, bias=False), (1, 2, 4, 4, 4)),
    "conv_transpose1d": (lambda n: n.ConvTranspose1d(4, 3, 3, 2, 1, 1), (2, 4, 5)),
    "conv_transpose2d": (lambda n: n.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (2, 4, 5, 5)),
    "conv_transpose3d": (lambda n: n.ConvTranspose3d(2, 3, 2), (1, 2, 3, 3, 3)),
    "batch_norm1d": (lambda n: n.BatchNorm1d(4), (6, 4)),
    "batch_norm2d": (lambda n: n.BatchNorm2d(4, momentum=0.3), (3, 4, 5, 5)),
    "batch_norm3d": (lambda n: n.BatchNorm3d(2, affine=False), (3, 2, 3, 3, 3)),
    "batch_norm_untracked": (lambda n: n.BatchNorm2d(4, track_running_stats=False), (3, 4, 5, 5)),
    "instance_norm2d": (lambda n: n.InstanceNorm2d(3, affine=True), (2, 3, 5, 5)),
    "instance_norm1d": (lambda n: n.InstanceNorm1d(3), (2, 3, 5)),
    "layer_norm": (lambda n: n.LayerNorm((4, 5)), (3, 4, 5)),
    "layer_norm_plain": (lambda n: n.LayerNorm(5, elementwise_affine=False), (3, 4, 5)),
    "rms_norm": (lambda n: n.RMSNorm(5), (3, 5)),
    "group_norm": (lambda n: n.GroupNorm(2, 6), (2, 6, 4)),
    "prelu": (lambda n: n.PReLU(3), (2, 3, 4)),
    "flatten": (lambda n: n.Flatten(), (2, 3, 4)),
    "flatten_some": (lambda n: n.Flatten(0, 1), (2, 3, 4)),
    "unflatten": (lambda n: n.Unflatten(1, (2, 3)), (2, 6, 4)),
    "upsample": (lambda n: n.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 3)),
    "encoder_layer": (
        lambda n: n.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True),
        (2, 5, 8),
    ),
    "encoder": (
        lambda n: n.TransformerEncoder(
            n.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", norm_first=True), 2
        ),
        (5, 2, 8),
    ),
    "sequential": (
        lambda n: n.Sequential(
            n.Linear(5, 8), n.Tanh(), n.Sequential(n.Linear(8, 2), n.Softmax(-1))
        ),
        (3, 5),
    ),
}
ACTIVATIONS = {
    "ReLU": (), "ReLU6": (), "LeakyReLU": (0.2,), "ELU": (0.7,), "CELU": (1.3,), "SELU": (), "GELU": (),
    "SiLU": (), "Mish": (), "Sigmoid": (), "LogSigmoid": (), "Tanh": (), "Softplus": (2.0, 15.0),
    "Softsign": (), "Hardswish": (), "Hardsigmoid": (), "Hardtanh": (-0.5, 0.75), "GLU": (1,),
    "Threshold": (0.1, 3.0), "Softmax": (1,), "Softmin": (1,), "LogSoftmax": (-1,), "Identity": (),
    "MaxPool2d": (2,), "AvgPool2d": (2, 1, 1), "AdaptiveAvgPool2d": (3,), "AdaptiveMaxPool2d": ((2, 3),),
}  # fmt: skip
for _name, _options in ACTIVATIONS.items():
    PAIRS[_name] = (
        lambda n, name=_name, options=_options: getattr(n, name)(*options),
        (2, 4, 6, 6),
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_module_is_pytorchs(name, mode):
    make, shape = PAIRS[name]
    torch.manual_seed(1)
    theirs, ours = make(torch.nn), make(nn)
    for p in theirs.parameters():  # norms begin as 1 and 0, which hides mistakes
        p.data = torch.randn_like(p)
    result = ours.load_state_dict(theirs.state_dict())
    assert result == ([], [])
    getattr(theirs, mode)()
    getattr(ours, mode)()
    for seed in range(2):
        x = array(*shape, seed=seed)
        tx, cx = torch.tensor(x, requires_grad=True), cg.tensor(x.copy(), requires_grad=True)
        expected, got = theirs(tx), ours(cx)
        np.testing.assert_allclose(got.numpy(), expected.detach().numpy(), rtol=2e-4, atol=2e-5)
        weights = array(*expected.shape, seed=7)
        expected.backward(torch.tensor(weights))
        got.realize().backward(cg.tensor(weights))
        np.testing.assert_allclose(cx.grad.numpy(), tx.grad.numpy(), rtol=2e-3, atol=2e-4)
    for (n, p), (m, q) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        assert n == m
        np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=2e-3, atol=2e-3, err_msg=n)
    for n, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            ours.state_dict()[n].numpy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=n
        )


LOSSES = {
    "MSELoss": {}, "L1Loss": {"reduction": "sum"}, "SmoothL1Loss": {"beta": 0.5},
    "HuberLoss": {"delta": 0.5}, "BCEWithLogitsLoss": {}, "BCELoss": {"reduction": "none"},
    "KLDivLoss": {"reduction": "batchmean"}, "CosineSimilarity": {"dim": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_pytorchs(name):
    a, b = (1 / (1 + np.exp(-array(4, 3, seed=s))) for s in (1, 2))
    expected = getattr(torch.nn, name)(**LOSSES[name])(torch.tensor(a), torch.tensor(b))
    got = getattr(nn, name)(**LOSSES[name])(cg.tensor(a), cg.tensor(b))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_a_loss_of_classes_is_pytorchs(name):
    scores, target = array(4, 3), np.array([0, 2, 1, 1])
    expected = getattr(torch.nn, name)()(torch.tensor(scores), torch.tensor(target))
    got = getattr(nn, name)()(cg.tensor(scores), cg.tensor(target))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masks", ["none", "attn", "padding", "both", "float"])
def test_attention_is_pytorchs(masks, batch_first):
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    ours = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    torch.nn.init.normal_(theirs.in_proj_bias)
    ours.load_state_dict(theirs.state_dict())
    q, k, v = (array(3, n, 8, seed=n + s) for s, n in enumerate((4, 5, 5)))
    if not batch_first:
        q, k, v = (x.transpose(1, 0, 2).copy() for x in (q, k, v))
    options = {}
    if masks in ("attn", "both"):
        options["attn_mask"] = np.triu(np.ones((4, 5), bool), 2)
    if masks in ("padding", "both"):
        options["key_padding_mask"] = np.arange(5) >= np.array([[5], [4], [3]])
    if masks == "float":
        options["attn_mask"] = array(4, 5)
    for need in (True, False):
        got = ours(*map(cg.tensor, (q, k, v)), need_weights=need,
                   **{n: cg.tensor(m) for n, m in options.items()})  # fmt: skip
        expected = theirs(*map(torch.tensor, (q, k, v)), need_weights=need,
                          **{n: torch.tensor(m) for n, m in options.items()})  # fmt: skip
        np.testing.assert_allclose(
            got[0].numpy(), expected[0].detach().numpy(), rtol=1e-4, atol=1e-5
        )
        assert (got[1] is None) == (expected[1] is None)
        if need:
            np.testing.assert_allclose(
                got[1].numpy(), expected[1].detach().numpy(), rtol=1e-4, atol=1e-6
            )


def test_attention_without_a_batch():
    theirs, ours = torch.nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2)
    ours.load_state_dict(theirs.state_dict())
    x = array(4, 8)
    expected, weights = theirs(*[torch.tensor(x)] * 3)
    got, our_weights = ours(*[cg.tensor(x)] * 3)
    np.testing.assert_allclose(got.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(our_weights.numpy(), weights.detach().numpy(), rtol=1e-4, atol=1e-6)


def block_of(n, channels, out):
    """A residual block, written once for both libraries."""

    class Block(n.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = n.Conv2d(channels, out, 3, stride=2, padding=1, bias=False)
            self.bn1 = n.BatchNorm2d(out)
            self.relu = n.ReLU(inplace=True)
            self.conv2 = n.Conv2d(out, out, 3, padding=1, bias=False)
            self.bn2 = n.BatchNorm2d(out)
            self.downsample = n.Sequential(
                n.Conv2d(channels, out, 1, stride=2, bias=False), n.BatchNorm2d(out)
            )

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + self.downsample(x))

    return Block()


def network_of(n):
    return n.Sequential(
        n.Conv2d(3, 8, 3, padding=1), block_of(n, 8, 12), n.Sequential(block_of(n, 12, 16)),
        n.AdaptiveAvgPool2d(1), n.Flatten(), n.Linear(16, 5),
    )  # fmt: skip


def test_a_residual_network_trains_as_pytorchs():
    torch.manual_seed(0)
    theirs, ours = network_of(torch.nn), network_of(nn)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    our_optimizer = cg.optim.SGD(ours.parameters(), lr=0.1)

    @cg.compile
    def step(x, y):
        our_optimizer.zero_grad()
        loss = cg.cross_entropy(ours(x), y).realize()
        loss.backward()
        our_optimizer.step()
        return loss

    for k in range(4):
        x, y = array(6, 3, 12, 12, seed=k), np.arange(6) % 5
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        assert abs(step(x, y).item() - loss.item()) < 2e-4
    theirs.eval()
    ours.eval()
    x = array(2, 3, 12, 12, seed=9)
    np.testing.assert_allclose(
        ours(cg.tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-3, atol=1e-3
    )


def test_a_compiled_function_follows_train_and_eval():
    layer = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))
    f = cg.compile(lambda x: layer(x).detach())
    x = np.ones((1, 4), np.float32)
    dropped = f(x).numpy()
    assert (dropped == 0).any()
    layer.eval()
    kept = f(x).numpy()
    assert not (kept == 0).any()
    np.testing.assert_array_equal(f(x).numpy(), kept)
    layer.train()
    assert (f(x).numpy() == 0).any()
    assert len(f.report()) == 2


def test_what_a_module_keeps():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
            self.named = nn.ModuleDict({"a": nn.Linear(2, 1)})
            self.tied = self.layers[0]
            self.scale = nn.Parameter(np.ones(2, np.float32))
            self.register_buffer("mean", cg.zeros((2,)).realize())
            self.register_buffer("scratch", cg.zeros((2,)).realize(), persistent=False)
            self.register_parameter("absent", None)
            self.constant = cg.ones((2,))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x) * self.scale + self.mean
            return self.named["a"](x)

    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias",
        "named.a.weight", "named.a.bias",
    ]  # fmt: skip
    assert [n for n, _ in net.named_buffers()] == ["mean", "scratch"]
    assert "scratch" not in net.state_dict()
    assert "tied.weight" in net.state_dict()
    assert [n for n, _ in net.named_modules()] == [
        "", "layers", "layers.0", "layers.1", "named", "named.a",
    ]  # fmt: skip
    assert net.get_submodule("layers.1") is net.layers[1]
    twin = Net()
    twin.load_state_dict(net.state_dict())
    x = cg.tensor(array(3, 2))
    np.testing.assert_array_equal(net(x).numpy(), twin(x).numpy())
    net.mean = net.mean + 1
    assert dict(net.named_buffers())["mean"].tolist() == [1, 1]
    net.scale.requires_grad = False
    assert "scale" in dict(net.named_parameters())  # frozen, still one
    net.requires_grad_(True)
    del net.tied
    assert "tied.weight" not in net.state_dict()
    net.layers[1] = nn.Identity()
    assert "layers.1.weight" not in net.state_dict()
    assert "Linear(2, 2" in repr(net)
    initial = []
    net.apply(lambda m: initial.append(type(m).__name__))
    assert initial[-1] == "Net"
    half = Net().to(cg.bfloat16)
    assert all(p.dtype == cg.bfloat16 for p in half.parameters())
    assert half(x.cast(cg.bfloat16)).dtype == cg.bfloat16


def test_mistakes_are_named():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\)"):
        Early()
    with pytest.raises(AttributeError, match="has no attribute 'wieght'"):
        nn.Linear(2, 2).wieght  # noqa: B018
    with pytest.raises(NotImplementedError, match=r"Module defines no forward\(\)"):
        nn.Module()(1)
    layer = nn.Linear(2, 3)
    before = layer.weight.numpy().copy()
    state = {"weight": np.ones((2, 2), np.float32), "bais": np.ones(3, np.float32)}
    with pytest.raises(cg.CheckpointError) as error:
        layer.load_state_dict(state)
    for part in ("missing ['bias']", "unexpected ['bais']", "weight: expected [3, 2], got [2, 2]"):
        assert part in str(error.value)
    np.testing.assert_array_equal(layer.weight.numpy(), before)
    result = layer.load_state_dict({"bias": np.ones(3), "x": np.ones(1)}, strict=False)
    assert result == (["weight"], ["x"])
    assert layer.bias.tolist() == [1, 1, 1]
    for make, message in (
        (lambda: nn.Linear(0, 2), "sizes must be positive"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups do not divide"),
        (lambda: nn.GroupNorm(4, 6), "groups do not divide"),
        (lambda: nn.Dropout(1.5), r"p must lie in \[0, 1\]"),
        (lambda: nn.MultiheadAttention(6, 4), "heads do not divide"),
        (lambda: nn.Embedding(4, 2, padding_idx=4), "is none of 4 rows"),
    ):
        with pytest.raises((cg.ValueError, cg.ShapeError), match=message):
            make()
    with pytest.raises(TypeError, match="'kernel_size' is needed"):
        nn.MaxPool2d()
    with pytest.raises(TypeError, match="'slope' is not known"):
        nn.LeakyReLU(slope=1)
    with pytest.raises(cg.ShapeError, match="needs 4 dimensions"):
        nn.BatchNorm2d(3)(cg.ones((2, 3)))


def test_hooks():
    layer = nn.Linear(2, 2)
    seen = []
    first = layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    second = layer.register_forward_hook(lambda m, args, result: seen.append(result.shape))
    third = layer.register_forward_hook(lambda m, args, result: result + 100)
    x = cg.ones((1, 2))
    hooked = layer(x).numpy()
    assert seen == [(1, 2)]
    for handle in (first, second, third):
        handle.remove()
    plain = layer(x * 2).numpy()
    np.testing.assert_allclose(hooked, plain + 100, rtol=1e-6)
    layer(x)
    assert len(seen) == 1


def test_embeddings():
    theirs, ours = torch.nn.Embedding(7, 3, padding_idx=-1), nn.Embedding(7, 3, padding_idx=-1)
    assert ours.weight.numpy()[6].tolist() == [0, 0, 0]
    ours.load_state_dict(theirs.state_dict())
    index = np.array([[0, 6, 2], [6, 1, 1]])
    expected, got = theirs(torch.tensor(index)), ours(cg.tensor(index))
    np.testing.assert_array_equal(got.numpy(), expected.detach().numpy())
    expected.sum().backward()
    got.sum().realize().backward()
    np.testing.assert_array_equal(ours.weight.grad.numpy(), theirs.weight.grad.numpy())


def test_dropout_drops_and_scales():
    cg.manual_seed(0)
    x = cg.ones((64, 16, 5, 5))
    for layer, whole in ((nn.Dropout(0.25), False), (nn.Dropout2d(0.25), True)):
        y = layer(x).numpy()
        assert set(np.unique(y).round(4)) == {0, np.float32(1.3333)}
        assert abs((y == 0).mean() - 0.25) < 0.05
        assert (np.ptp(y, axis=(2, 3)).max() == 0) == whole
        layer.eval()
        np.testing.assert_array_equal(layer(x).numpy(), x.numpy())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uniform_", {"a": -2, "b": 3}),
        ("normal_", {"mean": 1, "std": 2}),
        ("trunc_normal_", {"std": 1.5, "a": -1, "b": 2}),
        ("xavier_uniform_", {"gain": 2}),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", {"a": 0.3}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("constant_", {"val": 4}),
        ("eye_", {}),
    ],
)
def test_initialisers_have_pytorchs_distributions(name, options):
    cg.manual_seed(2)
    torch.manual_seed(2)
    shape = (300, 200)
    ours = getattr(nn.init, name)(nn.Parameter(np.zeros(shape, np.float32)), **options)
    assert ours.requires_grad
    theirs = getattr(torch.nn.init, name)(torch.empty(shape), **options)
    a, b = np.sort(ours.numpy().ravel()), np.sort(theirs.numpy().ravel())
    # The distance of the distribution functions (Kolmogorov and Smirnov).
    distance = np.abs(np.searchsorted(b, a) - np.arange(a.size)).max() / a.size
    if name in ("constant_", "eye_"):
        np.testing.assert_array_equal(a, b)
    else:
        assert distance < 0.02
        assert abs(a[-1] - b[-1]) < 0.2 * abs(b[-1])
