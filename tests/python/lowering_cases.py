"""A call for every overload in the lowering table: the overload alone, as one FX node.

`CASES` maps an overload's name to functions that make its arguments. Rows of the same kind are made
by loops. Results must be what the overload itself gives in PyTorch; `UNSET` lists those whose
values are unset; `RANDOM` those that are judged by their moments.
"""

import torch


def f(*shape):
    """Floats on both sides of zero."""
    return torch.randn(shape)


def p(*shape):
    """Floats in (0, 1)."""
    return torch.rand(*shape) * 0.9 + 0.05


def i(*shape):
    return torch.randint(-4, 5, shape)


def n(*shape):
    """Positive integers."""
    return torch.randint(1, 5, shape)


def m(*shape):
    return torch.rand(*shape) < 0.5


def at(extent, *shape):
    """Indices into a dimension."""
    return torch.randint(0, extent, shape)


CASES: dict[str, list] = {}


def case(name, *makers):
    CASES.setdefault(name, []).extend(makers)


def call(*args, **kwargs):
    return args, kwargs


# Elementwise

for _name in [
    "exp",
    "exp2",
    "expm1",
    "sin",
    "cos",
    "tan",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "erf",
    "sigmoid",
    "reciprocal",
]:
    case(f"aten.{_name}.default", lambda: call(f(3, 5)), lambda: call(i(4)))
for _name in ["log", "log2", "log10", "log1p", "sqrt", "rsqrt"]:
    case(f"aten.{_name}.default", lambda: call(p(3, 5)), lambda: call(n(4)))
for _name in ("asin", "acos"):
    case(f"aten.{_name}.default", lambda: call(f(3, 5).clamp(-1, 1)))
for _name in ["abs", "neg", "sign", "positive", "square", "floor", "ceil", "round", "trunc"]:
    case(f"aten.{_name}.default", lambda: call(f(3, 5) * 3), lambda: call(i(4)))
for _name in ["relu", "isnan", "isinf", "isfinite"]:
    case(f"aten.{_name}.default", lambda: call(torch.tensor([-1.0, 0, 2, float("inf")])))
for _name in ("isinf", "isfinite"):
    case(f"aten.{_name}.default", lambda: call(i(4)))
case("aten.logical_not.default", lambda: call(i(9)), lambda: call(m(4)))
case("aten.bitwise_not.default", lambda: call(i(9)), lambda: call(m(4)))
for _name in ["eq", "ne", "lt", "le", "gt", "ge"]:
    case(f"aten.{_name}.Tensor", lambda: call(i(3, 4), i(4)), lambda: call(i(4), f(4)))
    case(f"aten.{_name}.Scalar", lambda: call(i(9), 1), lambda: call(i(9), 0.5))
for _name in ["add", "sub", "rsub"]:
    case(f"aten.{_name}.Tensor", lambda: call(f(3, 4), f(4), alpha=2), lambda: call(i(4), f(4)))
    case(f"aten.{_name}.Scalar", lambda: call(f(3, 4), 2.5), lambda: call(i(4), 2, 3))
case("aten.mul.Tensor", lambda: call(f(3, 1), i(4)), lambda: call(m(4), m(4)))
case("aten.mul.Scalar", lambda: call(i(4), 1.5))
for _name in ("div", "true_divide"):
    case(f"aten.{_name}.Tensor", lambda: call(f(3, 1), n(4)), lambda: call(i(4), n(4)))
case("aten.div.Scalar", lambda: call(i(4), 3))
for _mode in (None, "floor", "trunc"):
    case("aten.div.Tensor_mode", lambda r=_mode: call(f(9) * 9, f(9), rounding_mode=r))
    case("aten.div.Tensor_mode", lambda r=_mode: call(i(3, 4), n(4), rounding_mode=r))
    case("aten.div.Scalar_mode", lambda r=_mode: call(i(9), -2, rounding_mode=r))
case("aten.floor_divide.default", lambda: call(i(9), n(9)), lambda: call(f(9) * 9, f(9)))
for _name in ("remainder", "fmod"):
    case(f"aten.{_name}.Tensor", lambda: call(i(9), -n(9)), lambda: call(f(9) * 9, f(9)))
    case(f"aten.{_name}.Scalar", lambda: call(i(9), -3), lambda: call(f(9), 0.3))
case("aten.remainder.Scalar_Tensor", lambda: call(7, n(9)), lambda: call(0.7, f(9)))
for _name in ("maximum", "minimum", "atan2"):
    case(f"aten.{_name}.default", lambda: call(f(3, 4), f(4)))
case("aten.copysign.Tensor", lambda: call(f(4), torch.tensor([0.0, -0.0, -2, 3])))
case("aten.copysign.Scalar", lambda: call(i(4), -1))
case("aten.maximum.default", lambda: call(torch.tensor([float("nan"), 1]), f(2)))
case("aten.minimum.default", lambda: call(i(4), i(4)), lambda: call(m(4), m(4)))
for _name in ("and", "or", "xor"):
    case(f"aten.bitwise_{_name}.Tensor", lambda: call(i(9), i(9)), lambda: call(m(9), m(9)))
    case(f"aten.bitwise_{_name}.Scalar", lambda: call(i(9), 3))
    case(f"aten.logical_{_name}.default", lambda: call(i(9), f(9)), lambda: call(m(9), m(9)))
case("aten.__and__.Tensor", lambda: call(i(9), i(9)))
case("aten.__or__.Tensor", lambda: call(m(9), m(9)))
case("aten.__xor__.Tensor", lambda: call(i(9), i(9)))
for _name in ("left", "right"):
    case(f"aten.bitwise_{_name}_shift.Tensor", lambda: call(i(9), n(9)))
    case(f"aten.bitwise_{_name}_shift.Tensor_Scalar", lambda: call(i(9), 2))
    case(f"aten.bitwise_{_name}_shift.Scalar_Tensor", lambda: call(200, n(9)))
    case(f"aten.__{_name[0]}shift__.Tensor", lambda: call(i(9), n(9)))
    case(f"aten.__{_name[0]}shift__.Scalar", lambda: call(i(9), 2))
case("aten.pow.Tensor_Tensor", lambda: call(p(5), f(5)), lambda: call(i(5), n(5)))
case("aten.pow.Scalar", lambda: call(2.5, f(5)), lambda: call(2, n(5)))
for _exponent in (0, 1, 2, 3, 0.5, -0.5, -1, -2, 2.5, -3):
    case("aten.pow.Tensor_Scalar", lambda e=_exponent: call(p(5), e))
case("aten.pow.Tensor_Scalar", lambda: call(i(9), 2), lambda: call(i(9), 5))
for _name in ("addcmul", "addcdiv"):
    case(f"aten.{_name}.default", lambda: call(f(3, 4), f(4), p(3, 1), value=0.5))
case("prims.fma.default", lambda: call(f(3, 4), f(4), f(3, 1)))
case("aten.lerp.Scalar", lambda: call(f(4), f(4), 0.3), lambda: call(f(4), f(4), 0.7))
case("aten.lerp.Tensor", lambda: call(f(3, 4), f(4), p(3, 4)))
for _x, _y, _suffix in ((f, f, "self"), (f, None, "ScalarOther"), (None, f, "ScalarSelf")):
    case(
        f"aten.where.{_suffix}",
        lambda x=_x, y=_y: call(m(3, 4), x(4) if x else 2.0, y(3, 1) if y else 2.0),
    )
case("aten.where.Scalar", lambda: call(m(3, 4), 1, 2), lambda: call(m(3), 1.0, 2.0))
case("aten.masked_fill.Scalar", lambda: call(f(3, 4), m(4), 7), lambda: call(i(4), m(4), -1))
case("aten.masked_fill.Tensor", lambda: call(f(3, 4), m(4), torch.tensor(7.0)))
case("aten.clamp.default", lambda: call(f(9), -0.5, 0.5), lambda: call(i(9), None, 2))
case("aten.clamp.Tensor", lambda: call(f(3, 4), f(4) - 1, f(4) + 1))
for _name in ("clamp_min", "clamp_max"):
    case(f"aten.{_name}.default", lambda: call(f(9), 0.2))
    case(f"aten.{_name}.Tensor", lambda: call(f(3, 4), f(4)))

# Activations and their gradients

for _name in [
    "silu",
    "mish",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "elu",
    "softplus",
    "gelu",
]:
    case(f"aten.{_name}.default", lambda: call(f(3, 7) * 4))
case("aten.gelu.default", lambda: call(f(9), approximate="tanh"))
case("aten.elu.default", lambda: call(f(9), 1.5, 2, 0.5))
case("aten.glu.default", lambda: call(f(3, 8)), lambda: call(f(4, 3), 0))
case("aten.glu_backward.default", lambda: call(f(3, 4), f(3, 8), -1))
for _name in ["silu", "mish", "hardsigmoid", "hardswish", "sigmoid", "tanh", "gelu"]:
    case(f"aten.{_name}_backward.default", lambda: call(f(9), f(9)))
case("aten.gelu_backward.default", lambda: call(f(9), f(9), approximate="tanh"))
case("aten.threshold_backward.default", lambda: call(f(9), f(9), 0.1))
case("aten.leaky_relu_backward.default", lambda: call(f(9), f(9), 0.1, False))
case("aten.hardtanh_backward.default", lambda: call(f(9), f(9), -0.5, 0.5))
case("aten.elu_backward.default", lambda: call(f(9), 1.5, 2, 0.5, False, f(9)))
case("aten.elu_backward.default", lambda: call(f(9), 1.5, 2, 0.5, True, f(9)))
case("aten.softplus_backward.default", lambda: call(f(9), f(9) * 9, 2, 3))
case("aten.log_sigmoid_forward.default", lambda: call(f(9)))
case("aten.log_sigmoid_backward.default", lambda: _log_sigmoid_backward(f(9)))


def _log_sigmoid_backward(x):
    return call(f(9), x, torch.ops.aten.log_sigmoid_forward(x)[1])


# Creation and casts

case("aten.full.default", lambda: call([3, 4], 2.5), lambda: call([2], 7, dtype=torch.int64))
case("aten.new_full.default", lambda: call(f(2), [3, 4], 2))
case("aten.full_like.default", lambda: call(f(3, 4), 2), lambda: call(i(2), 3))
for _name in ("zeros", "ones"):
    if _name == "zeros":
        case("aten.zeros.default", lambda: call([3, 4]))
    else:
        case("aten.ones.default", lambda: call([3, 4], dtype=torch.int64))
    case(f"aten.{_name}_like.default", lambda: call(f(3, 4)), lambda: call(m(3)))
    case(f"aten.new_{_name}.default", lambda: call(f(2), [3, 4]))
case("aten.empty.memory_format", lambda: call([3, 4]))
case("aten.empty_like.default", lambda: call(f(3)))
case("aten.empty_permuted.default", lambda: call([3, 4], [1, 0]))
case("aten.empty_strided.default", lambda: call([3, 4], [4, 1]))
case("aten.new_empty.default", lambda: call(f(2), [3, 4]))
case("aten.new_empty_strided.default", lambda: call(f(2), [3, 4], [4, 1]))
case("aten.scalar_tensor.default", lambda: call(2.5), lambda: call(3, dtype=torch.int64))
case("aten.fill.Scalar", lambda: call(f(3, 4), 2))
case("aten.fill.Tensor", lambda: call(f(3, 4), torch.tensor(2.0)))
case("aten.arange.default", lambda: call(7), lambda: call(2.5))
case("aten.arange.start", lambda: call(2, 7))
case("aten.arange.start_step", lambda: call(0, 1, 0.1), lambda: call(9, 1, -3))
case("aten.arange.start_step", lambda: call(-4.7, 2, 1.5, dtype=torch.int64))
case("prims.iota.default", lambda: _iota(5, 2, 3))
case("aten._to_copy.default", lambda: call(f(5), dtype=torch.float64))
case("aten._to_copy.default", lambda: call(f(5) * 9, dtype=torch.int64))
case("aten._to_copy.default", lambda: call(i(5), dtype=torch.bool))
case("aten.to.dtype", lambda: call(i(5), torch.float32))
case("prims.convert_element_type.default", lambda: call(i(5), torch.float32))
case("aten.copy.default", lambda: call(f(3, 4), i(4)))
case("aten.eye.default", lambda: call(4))
case("aten.eye.m", lambda: call(3, 5))
for _name in ("tril", "triu"):
    case(f"aten.{_name}.default", lambda: call(f(4, 5), 1), lambda: call(i(2, 4, 3), -1))


def _iota(length, start, step):
    cpu = torch.device("cpu")
    options = {"dtype": torch.int64, "device": cpu, "requires_grad": False}
    return call(length, start=start, step=step, **options)


# Views

case("aten.view.default", lambda: call(f(3, 4), [2, -1]))
case("aten._unsafe_view.default", lambda: call(f(3, 4), [12]))
case("aten.reshape.default", lambda: call(f(3, 4).t(), [2, 6]))
for _name in ["alias", "detach", "lift_fresh_copy", "clone", "contiguous", "lift_fresh"]:
    case(f"aten.{_name}.default", lambda: call(f(3, 4)))
case("aten.permute.default", lambda: call(f(2, 3, 4), [2, 0, -2]))
case("aten.t.default", lambda: call(f(3, 4)), lambda: call(f(3)))
case("aten.transpose.int", lambda: call(f(2, 3, 4), 0, -1))
case("aten.expand.default", lambda: call(f(3, 1), [2, -1, 4]))
case("aten.unsqueeze.default", lambda: call(f(3, 4), -1))
case("aten.squeeze.default", lambda: call(f(1, 3, 1)))
case("aten.squeeze.dim", lambda: call(f(1, 3, 1), 2), lambda: call(f(2, 3), 0))
case("aten.squeeze.dims", lambda: call(f(1, 3, 1), [0, 2]))
case("aten.select.int", lambda: call(f(3, 4), 1, -1))
case("aten.slice.Tensor", lambda: call(f(9, 2), 0, 1, -1, 3), lambda: call(f(3), 0, 2, 1))
case("aten.split_with_sizes.default", lambda: call(f(5, 2), [2, 0, 3]))
case("aten.split.Tensor", lambda: call(f(2, 5), 2, 1))
case("aten.unbind.int", lambda: call(f(3, 2), 1))
case("aten.cat.default", lambda: call([f(2, 3), i(1, 3)]), lambda: call([f(0), f(2, 3)], -1))
case("aten.stack.default", lambda: call([f(2, 3), f(2, 3)], -1))
case("aten.flip.default", lambda: call(f(2, 3, 4), [0, -1]))
case("aten.roll.default", lambda: call(f(3, 4), [1, -2], [0, 1]), lambda: call(f(3, 4), [5]))
case("aten.repeat.default", lambda: call(f(2, 3), [2, 1, 3]))
case("aten.constant_pad_nd.default", lambda: call(f(3, 4), [1, -1, 0, 2], 0.5))
case("aten.slice_scatter.default", lambda: call(f(6, 2), f(2, 2), 0, 1, 5, 2))
case("aten.slice_scatter.default", lambda: call(f(6, 2), f(4, 2), 0, 1, 5))
case("aten.select_scatter.default", lambda: call(f(3, 4), f(3), 1, -2))
case("aten.as_strided.default", lambda: call(f(12), [2, 3], [1, 2], 3))
case("aten.as_strided_copy.default", lambda: call(f(3, 4), [2, 2], [1, 3]))
for _name, _overload in (
    *(("permute", "default"), ("transpose", "int"), ("t", "default"), ("expand", "default")),
    *(("select", "int"), ("slice", "Tensor"), ("unbind", "int")),
):
    case(f"aten.{_name}_copy.{_overload}", *CASES[f"aten.{_name}.{_overload}"])
for _name in ("diagonal", "diagonal_copy"):
    case(f"aten.{_name}.default", lambda: call(f(3, 5), 2), lambda: call(f(4, 2, 3), -1, 2, 0))
    case(f"aten.{_name}.default", lambda: call(f(3, 5), 7))
case("aten.diagonal_scatter.default", lambda: call(f(3, 5), f(3), 1))
case("aten.diagonal_scatter.default", lambda: call(f(4, 2, 3), f(2, 2), -1, 2, 0))
case("aten.diagonal_scatter.default", lambda: call(f(4, 2, 3), f(2, 3), -1, 0, 2))
for _name in ("unfold", "unfold_copy"):
    case(f"aten.{_name}.default", lambda: call(f(9, 2), 0, 3, 2), lambda: call(f(2, 9), 1, 1, 4))

# Indexing

case("aten.embedding.default", lambda: call(f(6, 3), at(6, 2, 4)))
case("aten.embedding_dense_backward.default", lambda: call(f(2, 4, 3), at(6, 2, 4), 6, 2, True))
case("aten.embedding_dense_backward.default", lambda: call(f(2, 9, 3), at(3, 2, 9), 3, 0, False))
case(
    "aten.index_select.default", lambda: call(f(3, 5), 1, at(5, 4)), lambda: call(i(5), 0, at(5, 2))
)
case("aten.gather.default", lambda: call(f(3, 5), 1, at(5, 3, 2)))
case("aten.gather.default", lambda: call(f(3, 5), 0, at(3, 0)))
case("aten.gather.default", lambda: call(f(3), 0, torch.tensor(2)), lambda: call(f(), 0, at(1, 4)))
case("aten.scatter.src", lambda: call(f(3, 5), 1, torch.tensor([[0, 2], [4, 1]]), f(3, 4)))
case("aten.scatter.src", lambda: call(f(), 0, torch.tensor(0), f()))
case("aten.scatter.src", lambda: call(f(4), 0, torch.tensor(2), f()))
case("aten.scatter.value", lambda: call(f(3, 5), 0, at(3, 2, 4), 1.5))
case("aten.scatter_add.default", lambda: call(f(3, 5), 1, at(5, 3, 9), f(3, 9)))
for _reduce in ("sum", "prod", "amax", "amin"):
    case("aten.scatter_reduce.two", lambda r=_reduce: call(f(3, 5), 1, at(5, 3, 9), f(3, 9), r))
    case(
        "aten.scatter_reduce.two",
        lambda r=_reduce: call(f(3, 5), 1, at(3, 3, 9), f(3, 9), r, include_self=False),
    )
for _name in ("index", "_unsafe_index"):
    case(f"aten.{_name}.Tensor", lambda: call(f(3, 4, 5), [None, at(4, 2, 1), at(5, 3) - 5]))
    case(f"aten.{_name}.Tensor", lambda: call(f(3, 4, 5), [at(3, 2), None, at(5, 2)]))
for _name in ("index_put", "_unsafe_index_put"):
    case(f"aten.{_name}.default", lambda: call(f(3, 4), [at(3, 9), at(4, 9)], f(9), True))
    case(f"aten.{_name}.default", lambda: call(f(3, 4), [torch.tensor([2, 0])], f(4)))
case("aten.index_copy.default", lambda: call(f(3, 4), 1, torch.tensor([2, 0]), f(3, 2)))
case("aten.index_add.default", lambda: call(f(3, 4), 1, at(4, 6), f(3, 6), alpha=2))
case("aten.index_add.default", lambda: call(f(), 0, torch.tensor([0]), f(), alpha=2))
case("aten.index_add.default", lambda: call(f(), -1, torch.tensor(0), f()))
case("aten.index_copy.default", lambda: call(f(), 0, torch.tensor([0]), f(1)))
case("aten.index_copy.default", lambda: call(f(), 0, torch.tensor(0), f()))

# Reductions, scans, orders

for _name in ("sum", "mean", "prod", "max", "min"):
    case(f"aten.{_name}.default", lambda: call(f(3, 4)), lambda: call(f()))
case("aten.sum.default", lambda: call(m(9)), lambda: call(i(9), dtype=torch.float32))
case("aten.sum.dim_IntList", lambda: call(f(2, 3, 4), [0, -1], True), lambda: call(i(3, 0), [1]))
case("aten.mean.dim", lambda: call(f(2, 3, 4), [1]), lambda: call(f(3, 0), [1]))
case("aten.prod.dim_int", lambda: call(f(3, 4), 1), lambda: call(i(3, 4), 0, True))
for _name in ("amax", "amin"):
    case(f"aten.{_name}.default", lambda: call(f(3, 4), [1], True), lambda: call(i(3, 4)))
for _name in ("any", "all"):
    case(f"aten.{_name}.default", lambda: call(m(3)), lambda: call(f(0)))
    case(f"aten.{_name}.dim", lambda: call(m(3, 2), 1), lambda: call(i(3, 2), 0, True))
    case(f"aten.{_name}.dims", lambda: call(m(3, 2, 2), [0, 2]))
for _name in ("argmax", "argmin"):
    case(f"aten.{_name}.default", lambda: call(f(30, 40)), lambda: call(i(3, 9), 1, True))
    case(f"aten.{_name}.default", lambda: call(f(30, 40), 0), lambda: call(f(30), -1, True))
for _name in ("max", "min"):
    case(f"aten.{_name}.dim", lambda: call(f(3, 4), 1), lambda: call(i(3, 9), 0, True))
for _name in ("var", "std", "var_mean"):
    case(f"aten.{_name}.correction", lambda: call(f(3, 9), [1], correction=2, keepdim=True))
    case(f"aten.{_name}.correction", lambda: call(f(3, 9)))
for _order in (2, 1, 0, 3, 0.5, -1.5, float("inf"), -float("inf")):
    _norm = "aten.linalg_vector_norm.default"
    case(_norm, lambda o=_order: call(f(3, 4), o, [1], True), lambda o=_order: call(f(5), o))
case(
    "aten.logsumexp.default",
    lambda: call(f(3, 4) * 50, [1]),
    lambda: call(f(3, 4), [0], True),
    lambda: call(f(3, 0), [1]),
    lambda: call(f(0, 3), [1], True),
)
for _name in ("cumsum", "cumprod"):
    case(f"aten.{_name}.default", lambda: call(f(3, 9), 1), lambda: call(i(9, 2), 0))
case("aten.sort.default", lambda: call(torch.randperm(20).float().view(4, 5), 1, True))
case("aten.sort.stable", lambda: call(i(3, 9), stable=True, dim=1))
case("aten.argsort.default", lambda: call(torch.randperm(20).view(4, 5), 0))
case("aten.topk.default", lambda: call(torch.randperm(20).float().view(4, 5), 3, 1))

# Matrix products

case(
    "aten._int_mm.default",
    lambda: call(i(24, 16).to(torch.int8), i(16, 8).to(torch.int8)),
    lambda: call(i(24, 2100).to(torch.int8), i(2100, 8).to(torch.int8)),
)
case("aten.mm.default", lambda: call(f(3, 4), f(4, 5)), lambda: call(i(3, 4), i(4, 5)))
case("aten.bmm.default", lambda: call(f(2, 3, 4), f(2, 4, 5)))
case("aten.addmm.default", lambda: call(f(5), f(3, 4), f(4, 5), beta=0.5, alpha=2))
case("aten.baddbmm.default", lambda: call(f(3, 1), f(2, 3, 4), f(2, 4, 5), beta=0))
case("aten.mv.default", lambda: call(f(3, 4), f(4)))
case("aten.dot.default", lambda: call(f(9), f(9)))
case(
    "aten.convolution.default",
    lambda: call(f(2, 4, 9), f(6, 2, 3), f(6), [2], [1], [1], False, [0], 2),
    lambda: call(f(2, 4, 5, 6), f(4, 3, 2, 3), None, [2, 1], [1, 0], [1, 2], True, [1, 0], 2),
)
case(
    "aten.convolution_backward.default",
    lambda: call(
        *(f(2, 6, 5), f(2, 4, 9), f(6, 2, 3)),
        *([6], [2], [1], [1], False, [0], 2, [True, True, True]),
    ),
)


def _attention(heads=2, shared=2):
    return f(2, heads, 5, 4), f(2, shared, 7, 4), f(2, shared, 7, 4)


def _mask_of_rows():
    """The second query may attend to nothing."""
    return torch.zeros(5, 7).index_fill(0, torch.tensor([1]), -float("inf"))


def _attention_backward(causal, heads=2, shared=2, **mask):
    q, k, v = _attention(heads, shared)
    aten = torch.ops.aten
    out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, **mask)
    return call(f(2, heads, 5, 4), q, k, v, out, lse, 0.0, causal, **mask)


_flash = "aten._scaled_dot_product_flash_attention_for_cpu"
case(f"{_flash}.default", lambda: call(*_attention()), lambda: call(*_attention(), scale=0.3))
case(f"{_flash}.default", lambda: call(*_attention(), 0.0, True))
case(f"{_flash}.default", lambda: call(*_attention(), attn_mask=_mask_of_rows()))
_group = {"heads": 6, "shared": 2}
for _mask in (
    lambda: None,
    lambda: f(5, 7),
    lambda: _mask_of_rows(),
    lambda: f(2, 6, 5, 7),
    lambda: f(2, 1, 1, 7),
):
    case(f"{_flash}.default", lambda k=_mask: call(*_attention(**_group), attn_mask=k()))
    case(
        f"{_flash}_backward.default",
        lambda k=_mask: _attention_backward(False, **_group, attn_mask=k()),
    )
case(f"{_flash}.default", lambda: call(*_attention(**_group), 0.0, True))
case(f"{_flash}_backward.default", lambda: _attention_backward(True, **_group))
case(f"{_flash}_backward.default", lambda: _attention_backward(False))
case(f"{_flash}_backward.default", lambda: _attention_backward(True))
case(f"{_flash}_backward.default", lambda: _attention_backward(False, attn_mask=_mask_of_rows()))

# Softmax and normalisation

for _name in ("_softmax", "_log_softmax"):
    case(f"aten.{_name}.default", lambda: call(f(3, 9), 1, False))
    case(f"aten.{_name}_backward_data.default", lambda: call(f(3, 9), p(3, 9), 1, torch.float32))
case("aten._safe_softmax.default", lambda: call(f(3, 9), 1))
case("aten._safe_softmax.default", lambda: call(torch.full((2, 3), -float("inf")), -1))
case("aten.native_layer_norm.default", lambda: call(f(2, 3, 8), [3, 8], f(3, 8), f(3, 8), 1e-5))
case(
    "aten.native_layer_norm_backward.default",
    lambda: call(f(4, 8), f(4, 8), [8], f(4, 1), p(4, 1), f(8), f(8), [True, True, True]),
)
case("aten.native_group_norm.default", lambda: call(f(2, 6, 5), f(6), f(6), 2, 6, 5, 3, 1e-5))
case(
    "aten.native_group_norm_backward.default",
    lambda: call(
        *(f(2, 6, 5), f(2, 6, 5), f(2, 3), p(2, 3), f(6)),
        *(2, 6, 5, 3, [True, True, True]),
    ),
)
_norm = "aten._native_batch_norm_legit"
for _training in (True, False):
    case(
        f"{_norm}_functional.default",
        lambda t=_training: call(f(4, 3, 5), f(3), f(3), f(3), p(3), t, 0.1, 1e-5),
    )
    case(
        "aten.native_batch_norm_backward.default",
        lambda t=_training: call(
            *(f(4, 3, 5), f(4, 3, 5), f(3), f(3), p(3), f(3), p(3)),
            *(t, 1e-5, [True, True, True]),
        ),
    )
case(f"{_norm}.no_stats", lambda: call(f(4, 3, 5), f(3), f(3), True, 0.1, 1e-5))
case(f"{_norm}_no_training.default", lambda: call(f(4, 3), f(3), f(3), f(3), p(3), 0.1, 1e-5))

# Losses

for _reduction in (0, 1, 2):
    for _name, _extra in (("mse_loss", ()), ("smooth_l1_loss", (0.7,)), ("huber_loss", (0.7,))):
        case(
            f"aten.{_name}.default",
            lambda r=_reduction, e=_extra: call(f(3, 4), f(3, 4), r, *e),
        )
        case(
            f"aten.{_name}_backward.default",
            lambda r=_reduction, e=_extra: call(
                f(3, 4) if r == 0 else f(), f(3, 4), f(3, 4), r, *e
            ),
        )
    _bce = "aten.binary_cross_entropy"
    case(f"{_bce}.default", lambda r=_reduction: call(p(3, 4), p(3, 4), p(3, 4), r))
    case(
        f"{_bce}_backward.default",
        lambda r=_reduction: call(f(3, 4) if r == 0 else f(), p(3, 4), p(3, 4), None, r),
    )
    case(
        f"{_bce}_with_logits.default",
        lambda r=_reduction: call(f(3, 4), p(3, 4), p(4), p(4), r),
    )
    for _kind, _shape in (("nll_loss", (6,)), ("nll_loss2d", (2, 3, 4))):
        case(
            f"aten.{_kind}_forward.default",
            lambda r=_reduction, s=_shape: call(f(s[0], 5, *s[1:]), at(5, *s), p(5), r, 2),
        )
        case(
            f"aten.{_kind}_backward.default",
            lambda r=_reduction, s=_shape: call(
                *(f(*s) if r == 0 else f(), f(s[0], 5, *s[1:]), at(5, *s), p(5), r, 2),
                torch.tensor(2.5),
            ),
        )

# Pooling

case("aten.max_pool2d_with_indices.default", lambda: call(f(2, 3, 7, 8), [3], [2], [1]))
for _size in (3, 5):  # a window of nothing but -inf names its first place inside the input
    case(
        "aten.max_pool2d_with_indices.default",
        lambda n=_size: call(torch.full((1, 9, 10), -float("inf")), [n], [1], [n // 2], [2]),
    )
case(
    "aten.max_pool2d_with_indices_backward.default",
    lambda: call(f(2, 3, 2, 3), f(2, 3, 5, 7), [2], [2], [0], [1], False, at(35, 2, 3, 2, 3)),
)
for _include in (False, True):
    case(
        "aten.avg_pool2d.default",
        lambda i=_include: call(f(2, 3, 7, 8), [3], [2], [1], True, i),
    )
case(
    "aten.avg_pool2d_backward.default",
    lambda: call(f(2, 3, 4, 4), f(2, 3, 7, 8), [3], [2], [1], False, True, None),
)
case("aten._adaptive_avg_pool2d.default", lambda: call(f(2, 3, 7, 8), [3, 5]))
case("aten._adaptive_avg_pool2d.default", lambda: call(f(2, 3, 7, 8), [1, 1]))
case("aten._adaptive_avg_pool2d_backward.default", lambda: call(f(2, 3, 3, 5), f(2, 3, 7, 8)))

# Random numbers

case("aten.rand.default", lambda: call([40, 50]))
case("aten.randn.default", lambda: call([40, 50]))
case("aten.rand_like.default", lambda: call(f(40, 50)))
case("aten.randn_like.default", lambda: call(f(40, 50)))
case("aten.bernoulli.p", lambda: call(f(40, 50), 0.3))
case("aten.uniform.default", lambda: call(f(40, 50), -1.0, 2.0))
case("aten.exponential.default", lambda: call(f(40, 50), 2.0))
case("aten.geometric.default", lambda: call(f(40, 50), 0.8), lambda: call(i(40, 50), 0.7))
case("aten.log_normal.default", lambda: call(f(40, 50), 0.1, 0.3))
case("aten.normal_functional.default", lambda: call(f(40, 50), 3.0, 0.5))
case("aten.normal.Tensor_float", lambda: call(f(40, 50).sign(), 0.5))
case("aten.normal.float_Tensor", lambda: call(2.0, torch.ones(40, 50)))
case("aten.normal.Tensor_Tensor", lambda: call(torch.ones(40, 50), torch.ones(40, 50)))
case("aten.normal.float_float", lambda: call(1.0, 0.5, [40, 50]))
case("aten.randint.default", lambda: call(3, [40, 50]))
case("aten.randint.low", lambda: call(-1, 2, [40, 50]))
case("aten.randint_like.default", lambda: call(f(40, 50), 3))
case("aten.randint_like.low_dtype", lambda: call(i(40, 50), -1, 2))
case("aten.randperm.default", lambda: call(50))
case("aten.multinomial.default", lambda: call(torch.tensor([0.0, 0.2, 0.1, 0.7]), 2000, True))
case("aten.multinomial.default", lambda: call(torch.tensor([0.5, 0.2, 9.0]).expand(999, 3), 2))
for _training in (False, True):
    case(
        "aten.rrelu_with_noise_functional.default",
        lambda t=_training: call(f(40, 50), torch.ones(40, 50), 0.1, 0.3, t),
    )
# Without moments: so narrow that its middle shows, and no far value.
case("aten.cauchy.default", lambda: call(f(40, 50), 3.0, 1e-9))
case("aten.native_dropout.default", lambda: call(f(9), 0.3, False))
case("aten.native_dropout.default", lambda: call(torch.ones(40, 50), 0.3, True))
case("aten.native_dropout_backward.default", lambda: call(f(9), m(9), 1.5))

#: Overloads whose values are unset.
UNSET = (
    "aten.empty.memory_format",
    "aten.empty_like.default",
    "aten.empty_permuted.default",
    "aten.empty_strided.default",
    "aten.new_empty.default",
    "aten.new_empty_strided.default",
)
#: Overloads whose values are random: mean and standard deviation are compared instead.
RANDOM = (
    "aten.rand.default",
    "aten.randn.default",
    "aten.rand_like.default",
    "aten.randn_like.default",
    "aten.bernoulli.p",
    "aten.native_dropout.default",
    "aten.uniform.default",
    "aten.exponential.default",
    "aten.cauchy.default",
    "aten.geometric.default",
    "aten.log_normal.default",
    "aten.normal_functional.default",
    "aten.normal.Tensor_float",
    "aten.normal.float_Tensor",
    "aten.normal.Tensor_Tensor",
    "aten.normal.float_float",
    "aten.randint.default",
    "aten.randint.low",
    "aten.randint_like.default",
    "aten.randint_like.low_dtype",
    "aten.randperm.default",
    "aten.multinomial.default",
    "aten.rrelu_with_noise_functional.default",
)


# Recurrent layers: three steps of a batch of two, four hidden numbers, or two with a projection.

for _kind, _gates in {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}.items():
    for _reverse in (False, True):
        _c0 = (lambda: f(2, 4)) if _kind == "lstm" else (lambda: None)
        _b = (lambda n=4 * _gates: f(n)) if _reverse else (lambda: None)
        case(
            "coregrad.recurrence.default",
            lambda k=_kind, n=4 * _gates, c0=_c0, b=_b, r=_reverse: call(
                k, f(3, 2, n), f(2, 4), c0(), f(n, 4), b(), None, r
            ),
        )
        case(
            "coregrad.recurrence_backward.default",
            lambda k=_kind, n=4 * _gates, c0=_c0, r=_reverse: call(
                k,
                f(3, 2, 4),
                f(2, 4) if r else None,
                c0(),
                f(3, 2, 4),
                f(3, 2, 4) if k == "lstm" else f(0),
                f(0) if k in ("tanh", "relu") else p(3, 2, 16),
                f(2, 4),
                c0(),
                f(n, 4),
                None,
                r,
            ),
        )
case(
    "coregrad.recurrence.default",
    lambda: call("lstm", f(3, 2, 16), f(2, 2), f(2, 4), f(16, 2), None, f(2, 4), False),
)
case(
    "coregrad.recurrence_backward.default",
    lambda: call(
        "lstm",
        f(3, 2, 2),
        None,
        None,
        f(3, 2, 2),
        f(3, 2, 4),
        p(3, 2, 16),
        f(2, 2),
        f(2, 4),
        f(16, 2),
        f(2, 4),
        False,
    ),
)
