"""What computes in random programs: elementwise operations, reductions, products, layers.

Each operation adds one line, or raises.
"""

from __future__ import annotations

import torch
from random_generator import Generator, NoSuchValue, Operations, product_of

operation = Operations()

SMOOTH = (
    *("torch.sin({x})", "torch.cos({x})", "torch.tanh({x})", "torch.sigmoid({x})"),
    *("torch.erf({x})", "torch.exp(torch.tanh({x}))", "torch.expm1(torch.tanh({x}))"),
    *("torch.log1p({x}.square())", "torch.sqrt({x}.square() + 0.1)", "F.gelu({x})"),
    *("torch.rsqrt({x}.square() + 0.1)", "F.gelu({x}, approximate='tanh')", "F.silu({x})"),
    *("F.softplus({x})", "F.mish({x})", "torch.atan({x})", "torch.asinh({x})"),
    *("torch.log({x}.square() + 0.1)", "{x}.square()", "{x} ** 3", "torch.exp2(torch.sin({x}))"),
    *("({x}.square() + 0.1) ** 1.5", "torch.reciprocal({x}.square() + 0.5)", "F.logsigmoid({x})"),
    *("torch.sinh(torch.tanh({x}))", "torch.cosh(torch.tanh({x}))", "torch.erfc({x})"),
    *("torch.tan(torch.sin({x}))", "torch.asin(torch.sin({x}) * 0.9)", "torch.sinc({x})"),
    *("torch.logit(torch.sigmoid({x}) * 0.8 + 0.1)", "torch.deg2rad({x})", "{x}.rad2deg() * 0.01"),
    *("torch.log2({x}.square() + 0.5)", "torch.log10({x}.square() + 0.5)", "-{x}", "{x} * 1.0"),
)
KINKED = (
    *("F.relu({x})", "torch.abs({x})", "F.leaky_relu({x}, 0.1)", "torch.clamp({x}, -0.5, 1.0)"),
    *("F.hardtanh({x})", "F.relu6({x})", "F.hardswish({x})", "F.hardsigmoid({x})", "F.elu({x})"),
    *("torch.sign({x})", "torch.floor({x})", "torch.ceil({x})", "torch.round({x})", "F.celu({x})"),
    *("torch.trunc({x})", "torch.frac({x})", "F.selu({x})", "torch.clamp({x}, min=0.25)"),
    *("torch.heaviside({x}, {x})", "torch.nan_to_num({x}, 0.5, 2.0, -2.0)", "F.softsign({x})"),
    *("F.softshrink({x})", "F.hardshrink({x})", "F.tanhshrink({x})", "F.threshold({x}, 0.1, 2.0)"),
    *("torch.sgn({x})", "torch.positive({x})", "torch.clamp_max({x}, 0.3)"),
)
EXACT_RESULT = (
    *("relu(", "abs(", "clamp", "hardtanh", "relu6", "sign(", "floor", "ceil", "round", "trunc"),
    *("sgn", "positive", "nan_to_num", "threshold"),
)

#: Their slope at NaN depends on whether an element is in one of eager's vectors or behind the last.
UNSURE_AT_NAN = (
    *("F.elu", "celu", "selu", "hardswish", "hardtanh", "relu6", "softshrink", "hardshrink"),
)


@operation(9)
def smooth(g: Generator) -> None:
    g.add(g.r.choice(SMOOTH).format(x=g.floats().name), False)


@operation(3)
def kinked(g: Generator) -> None:
    text = g.r.choice(KINKED)
    is_exact = any(name in text for name in EXACT_RESULT) and "leaky" not in text
    is_exact = is_exact and not any(c in text for c in ("0.5", "0.25", "0.1", "0.3"))
    x = g.exact(lambda v: v.is_float)
    if "hardsigmoid" in text and x.dtype is torch.float64:
        raise NoSuchValue  # eager's gradient has 1/6 in float32
    if g.is_special and g.is_grad and any(name in text for name in UNSURE_AT_NAN):
        raise NoSuchValue
    g.add(text.format(x=x.name), is_exact)


@operation(8)
def binary(g: Generator) -> None:
    x = g.floats()
    y = g.like(x)
    text = g.r.choice(
        ["{x} + {y}", "{x} - {y}", "{x} * {y}", "{x} / ({y}.square() + 0.5)"] * 3
        + [
            "torch.add({x}, {y}, alpha=0.5)",
            "torch.sub({x}, {y}, alpha=2)",
            "torch.rsub({x}, {y})",
            "torch.lerp({x}, {y}.to({x}.dtype), 0.3)",
            "torch.addcmul({x}, {y}.to({x}.dtype), {x}, value=0.5)",
            "torch.addcdiv({x}, {x}, {y}.to({x}.dtype).square() + 1, value=0.5)",
            "torch.logaddexp({x}, {y}.to({x}.dtype))",
            "torch.hypot({x}, {y}.to({x}.dtype).square() + 1)",
            "torch.atan2({x}, {y}.to({x}.dtype).square() + 1)",
            "torch.pow({x}.square() + 0.5, torch.tanh({y}))",
            "torch.xlogy({x}, {y}.square() + 1)",
        ]
    )
    g.add(text.format(x=x.name, y=y.name), False)


@operation(4)
def with_number(g: Generator) -> None:
    text = g.r.choice(["{x} + {n}", "{n} - {x}", "{x} * {n}", "{x} / {n}", "{x} - {n}"])
    g.add(text.format(x=g.floats().name, n=g.number()), False)


@operation(2)
def mixed_types(g: Generator) -> None:
    x = g.floats()
    y = g.pick(lambda v: not v.is_float)
    text = g.r.choice(["{x} + {y}", "{x} * {y}", "{y} - {x}", "{y} / ({x}.square() + 1)"])
    g.add(text.format(x=x.name, y=y.name), False)


@operation(2)
def extremum(g: Generator) -> None:
    x = g.exact(lambda v: v.dtype is not torch.bool)
    y = g.like(x, lambda v: v.exact, lambda v: v.dtype is not torch.bool)
    name = g.r.choice(["maximum", "minimum", "fmax", "fmin"])
    g.add(f"torch.{name}({x.name}, {y.name})", True)


@operation(3)
def comparison(g: Generator) -> None:
    x = g.exact()
    sign = g.r.choice(["<", "<=", ">", ">=", "==", "!="])
    if g.r.random() < 0.4:
        g.add(f"{x.name} {sign} {g.r.choice(['0', '1', '-2', '0.5'])}", True)
    else:
        y = g.exact(lambda v: v.is_float == x.is_float)
        g.add(f"{x.name} {sign} {y.name}", True)


@operation(1)
def float_tests(g: Generator) -> None:
    x = g.exact(lambda v: v.is_float)
    name = g.r.choice(["isnan", "isinf", "isfinite", "signbit", "isposinf", "isneginf"])
    # The sign of NaN means nothing.
    of = f"{x.name}.nan_to_num(1)" if name == "signbit" else x.name
    g.add(f"torch.{name}({of})", True)


@operation(4)
def choice(g: Generator) -> None:
    x = g.pick()
    c = g.mask(x)
    if g.r.random() < 0.4:
        y = g.like(x)
        g.add(f"torch.where({c.name}, {x.name}, {y.name})", x.exact and y.exact)
    elif g.r.random() < 0.5:
        g.add(f"torch.where({c.name}, {x.name}, {g.r.choice(['0', '1', '-2'])})", x.exact)
    else:
        g.add(f"{x.name}.masked_fill({c.name}, {g.r.choice(['0', '1', '-2'])})", x.exact)


@operation(2)
def boolean(g: Generator) -> None:
    x = g.pick(lambda v: v.dtype is torch.bool)
    y = g.pick(lambda v: v.dtype is torch.bool)
    text = g.r.choice(
        ["{x} & {y}", "{x} | {y}", "{x} ^ {y}", "~{x}", "torch.logical_xor({x}, {y})",
         "{x}.any()", "{x}.all()", "{x}.sum()", "torch.logical_not({x})"]
    )  # fmt: skip
    g.add(text.format(x=x.name, y=y.name), True)


@operation(4)
def integers(g: Generator) -> None:
    x = g.pick(lambda v: v.is_int)
    y = g.like(x, lambda v: v.is_int)
    text = g.r.choice(
        ["{x} + {y}", "{x} - {y}", "{x} * {y}", "{x} // ({y} * {y} + 1)", "{x} % ({y} * {y} + 1)",
         "{x} & {y}", "{x} | {y}", "{x} ^ {y}", "-{x}", "{x}.abs()", "{x}.sign()", "{x} // 3",
         "{x} % 5", "{x} % -4", "torch.clamp({x}, -3, 4)", "{x} << 2", "{x} >> 1", "~{x}", "{x} * 3",
         "torch.div({x}, 3, rounding_mode='trunc')", "torch.fmod({x}, 4)", "{x} ** 2",
         "{x}.bool()", "torch.div({x}, {y} * {y} + 1, rounding_mode='floor')"]
    )  # fmt: skip
    g.add(text.format(x=x.name, y=y.name), True)


@operation(3)
def conversion(g: Generator) -> None:
    x = g.pick()
    if x.is_float:
        if g.r.random() < 0.6 and x.exact and not g.is_special:
            g.add(f"{x.name}.{g.r.choice(['long', 'int', 'bool'])}()", True)
        else:
            to = g.r.choice(["torch.float32", "torch.float64"])
            # `to` of its own dtype is an alias; in float64 everything is of one dtype.
            copy = "" if to == str(x.dtype) else ", copy=True"
            g.add(f"{x.name}.to({to}{copy})", x.exact and x.dtype is torch.float32)
    else:
        to = g.r.choice(
            [
                "torch.float32",
                "torch.float64",
                "torch.int64",
                "torch.int32",
                "torch.bool",
                "torch.int8",
                "torch.int16",
                "torch.uint8",
            ]
        )
        g.add(f"{x.name}.to({to})", True)


@operation(6)
def reduction(g: Generator) -> None:
    x = g.floats()
    name = g.r.choice(["sum", "sum", "mean", "mean", "logsumexp", "var", "std_safe", "prod"])
    if name == "prod":
        g.add(f"torch.tanh({x.name}).prod({g.dim(x)})", False)
        return
    keep = g.r.random() < 0.5
    if (name == "sum" and g.r.random() < 0.3) or not x.shape:
        g.add(f"{x.name}.sum()", False)
        return
    dims = sorted(g.r.sample(range(len(x.shape)), g.r.randint(1, len(x.shape))))
    if name in ("var", "std_safe"):
        text = f"torch.var({x.name}, {dims}, correction={g.r.randint(0, 1)}, keepdim={keep})"
        if product_of([x.shape[d] for d in dims]) < 2:
            raise NoSuchValue
        g.add(text if name == "var" else f"torch.sqrt({text} + 0.1)", False)
        return
    g.add(f"torch.{name}({x.name}, {dims}, {keep})", False)


@operation(3)
def exact_reduction(g: Generator) -> None:
    x = g.exact()
    if x.dtype is torch.bool:
        g.add(f"{x.name}.{g.r.choice(['any', 'all', 'sum'])}({g.dim(x)})", True)
        return
    d, keep = g.dim(x), g.r.random() < 0.5
    text = g.r.choice(
        ["{x}.amax({d}, {k})", "{x}.amin({d}, {k})", "{x}.max({d}, {k})[0]", "{x}.min({d}, {k})[1]",
         "{x}.argmax({d}, {k})", "{x}.argmin({d}, {k})", "{x}.max()", "{x}.min()", "{x}.argmax()",
         "torch.count_nonzero({x}, {d})", "{x}.max({d}, {k})[1]", "torch.aminmax({x}, dim={d})[0]"]
        + ([] if x.is_float else ["{x}.sum({d}, {k})", "{x}.cumsum({d})", "{x}.sum()"])
    )  # fmt: skip
    g.add(text.format(x=x.name, d=d, k=keep), True)


@operation(2)
def sorting(g: Generator) -> None:
    x = g.exact(lambda v: v.dtype is not torch.bool and bool(v.shape))
    d = g.dim(x)
    down = g.r.random() < 0.5
    part = g.r.randint(0, 1)
    if g.r.random() < 0.3 and x.shape[d]:
        if x.tensor.unique().numel() != x.tensor.numel():
            raise NoSuchValue  # which of equal elements gets the gradient is not defined
        g.add(f"torch.topk({x.name}, {g.r.randint(1, x.shape[d])}, {d}, {down})[0]", True)
    elif g.r.random() < 0.2:
        g.add(f"torch.cummax({x.name}, {d})[0]", True)
    else:
        g.add(f"torch.sort({x.name}, dim={d}, descending={down}, stable=True)[{part}]", True)


@operation(4)
def normalisation(g: Generator) -> None:
    x = g.floats(lambda v: bool(v.shape))
    d = g.dim(x)
    text = g.r.choice(
        ["torch.softmax({x}, {d})", "torch.log_softmax({x}, {d})", "F.softmin({x}, {d})",
         "F.layer_norm({x}, {last})", "F.layer_norm({x}, {last2})", "torch.cumsum({x}, {d})",
         "F.normalize({x} + 2.5, dim={d})", "torch.logcumsumexp({x}, {d})", "F.rms_norm({x}, {last})"]
    )  # fmt: skip
    g.add(text.format(x=x.name, d=d, last=x.shape[-1:], last2=x.shape[-2:]), False)


@operation(9)
def product(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) >= 1)
    y = g.floats(lambda v: v.dtype is x.dtype)
    inner = x.shape[-1]
    columns = g.r.choice([1, 2, 3, 5, 8])
    square = g.carve(y, [inner, columns])
    rows = g.carve(y, [columns, inner])
    text = g.r.choice(
        [f"{x.name} @ {square}", f"F.linear({x.name}, {rows})", f"torch.matmul({x.name}, {y.name})",
         f"F.linear({x.name}, {rows}, {g.carve(y, [columns])})",
         f"torch.einsum('...i,ij->...j', {x.name}, {square})",
         f"torch.matmul({x.name}, {g.carve(y, [inner])})"]
        + ([f"torch.addmm({g.carve(y, [columns])}, {x.name}, {square}, alpha=0.5)",
            f"torch.mm({x.name}, {square}).t()",
            f"torch.einsum('ab,bc->ca', {x.name}, {square})",
            f"{x.name}.t() @ {g.carve(y, [x.shape[0], columns])}"] if len(x.shape) == 2 else [])
        + ([f"torch.bmm({x.name}, {g.carve(y, [x.shape[0], inner, columns])})",
            f"torch.einsum('abc,abd->acd', {x.name}, {g.carve(y, [*x.shape[:2], columns])})"]
           if len(x.shape) == 3 else [])
        + ([f"torch.outer({x.name}, {g.carve(y, [columns])})", f"torch.dot({x.name}, {x.name})"]
           if len(x.shape) == 1 else [])
    )  # fmt: skip
    g.add(text, False)


@operation(2)
def window(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) in (3, 4))
    rank = len(x.shape) - 2
    y = g.floats(lambda v: v.dtype is x.dtype)
    size = g.r.randint(1, 3)
    # Infinite weights meet the zeros that stand for positions without an element: of the padding in
    # whatever algorithm eager chose, and of transposed convolutions and input gradients in ours.
    convolve = not g.is_special
    if (convolve or not g.is_grad) and g.r.random() < 0.5:
        out = g.r.randint(1, 4)
        weight = g.carve(y, [out, x.shape[1], *[size] * rank])
        stride, padding = g.r.randint(1, 2), g.r.randint(0, 2) if convolve else 0
        dilation = g.r.randint(1, 2)
        g.add(f"F.conv{rank}d({x.name}, {weight}, None, {stride}, {padding}, {dilation})", False)
    elif g.r.random() < 0.5:
        g.add(f"F.avg_pool{rank}d({x.name}, {size}, {g.r.randint(1, 2)})", False)
    elif x.exact:
        g.add(f"F.max_pool{rank}d({x.name}, {size}, {g.r.randint(1, 2)}, {size // 2})", True)
    elif convolve:
        out = g.r.randint(1, 4)
        weight = g.carve(y, [x.shape[1], out, *[size] * rank])
        g.add(f"F.conv_transpose{rank}d({x.name}, {weight}, stride={g.r.randint(1, 2)})", False)


@operation(2)
def layers(g: Generator) -> None:
    """Normalisations, attention and losses."""
    x = g.floats(lambda v: len(v.shape) >= 2)
    n, channels = x.shape[:2]
    y = g.floats(lambda v: v.dtype is x.dtype)
    kind = g.r.randrange(6)
    if kind == 0:
        if g.is_special:
            raise NoSuchValue  # see `running_statistics`
        weight, bias = g.carve(y, [channels]), g.carve(y, [channels])
        g.add(f"F.batch_norm({x.name}, None, None, {weight}, {bias}, True)", False)
    elif kind in (1, 2):
        # Eager multiplies the weight into the scale and the shift (in group norm, and in the gradient
        # of layer norm): an infinite one gives inf - inf.
        clamp = ".clamp(-9, 9)" if g.is_special else ""
        if kind == 1:
            groups = g.r.choice([d for d in (1, 2, 4) if channels % d == 0])
            g.add(f"F.group_norm({x.name}, {groups}, {g.carve(y, [channels])}{clamp})", False)
        else:
            weight = g.carve(y, x.shape[-1:]) + clamp
            g.add(f"F.layer_norm({x.name}, {x.shape[-1:]}, {weight})", False)
    elif kind == 3:
        if g.is_special:
            raise NoSuchValue  # eager's kernel takes NaN scores for masked ones
        keys = g.r.choice([2, 5, 8])
        q = g.carve(x, [1, 2, x.tensor.numel() // (2 * x.shape[-1]), x.shape[-1]])
        k = g.carve(y, [1, 2, keys, x.shape[-1]])
        causal = g.r.random() < 0.3
        g.add(f"F.scaled_dot_product_attention({q}, {k}, {k}, is_causal={causal})", False)
    elif kind == 4 and len(x.shape) == 2:
        i, _ = g.index(channels, lambda v: v.tensor.numel() >= n)
        target = f"{g.carve(i, [n])} % {channels}"
        smooth = g.r.choice([0.0, 0.1])
        way = g.r.choice(["mean", "sum", "none"])
        text = f"F.cross_entropy({x.name}, {target}, label_smoothing={smooth}, reduction={way!r})"
        g.add(text, False)
    else:
        z = g.like(x, lambda v: v.dtype is x.dtype and v.shape == x.shape)
        text = g.r.choice(
            ["F.mse_loss({x}, {z})", "F.binary_cross_entropy_with_logits({x}, torch.sigmoid({z}))",
             "F.kl_div(F.log_softmax({x}, -1), torch.softmax({z}, -1), reduction='sum')",
             "F.cosine_similarity({x} + 0.5, {z} - 0.5, 1)", "F.poisson_nll_loss(torch.tanh({x}), {z})"]
        )  # fmt: skip
        g.add(text.format(x=x.name, z=z.name), False)


@operation(3)
def more_reductions(g: Generator) -> None:
    x = g.floats(lambda v: bool(v.shape))
    d = g.dim(x)
    if not x.shape[d]:
        raise NoSuchValue
    text = g.r.choice(
        ["torch.cumprod(torch.tanh({x}) + 0.5, {d})", "torch.var_mean({x}, {d}, correction=0)[0]",
         "torch.var_mean({x}, {d}, correction=0)[1]", "torch.diff({x}, dim={d})",
         "torch.linalg.vector_norm({x} + 0.5, 2, {d})", "torch.linalg.vector_norm({x}, 3, {d})",
         "torch.nansum({x}, {d})", "torch.nanmean({x}, {d})", "torch.trapezoid({x}, dim={d})",
         "({x} * {x}).sum({d}, dtype=torch.float64)", "torch.std({x} * 2, {d}, correction=0)"]
    )  # fmt: skip
    if "var_mean" in text and g.is_special:
        raise NoSuchValue  # eager's mean of infinities is NaN there
    if "std" in text and (x.shape[d] < 2 or x.exact):
        raise NoSuchValue  # equal elements make the gradient 0 / 0
    g.add(text.format(x=x.name, d=d), False)


@operation(2)
def selection(g: Generator) -> None:
    """What reads only exact values and picks among them."""
    x = g.exact(lambda v: v.dtype is not torch.bool and bool(v.shape))
    d = g.dim(x)
    text = g.r.choice(
        ["{x}.cummin({d})[1]", "torch.argsort({x}, dim={d}, stable=True)",
         "torch.searchsorted(torch.sort({x}, dim=-1)[0], {x})", "torch.isclose({x}, {x}.flip({d}))",
         "torch.bucketize({x}, torch.arange(-3, 4).to({x}.dtype), right=True)", "{x}.logical_and({x})",
         "torch.isin({x}, {x}.flatten()[:3])", "torch.take_along_dim({x}, {x}.argmax({d}, True), {d})",
         "torch.copysign({x}, {x}.flip({d}).nan_to_num(1))", "torch.aminmax({x})[1]",
         "torch.diff({x}, dim={d})", "torch.kron({x}, {x}[:1])", "torch.cartesian_prod({x}, {x})",
         "torch.vander({x}[:4], 3)", "torch.meshgrid({x}, {x}, indexing='ij')[1]"]
    )  # fmt: skip
    moves = ("take_along", "copysign", "aminmax", "meshgrid", "cartesian")
    g.add(text.format(x=x.name, d=d), any(name in text for name in moves))


@operation(6)
def more_products(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) >= 2)
    y = g.floats(lambda v: v.dtype is x.dtype)
    *batch, m, n = x.shape
    columns = g.r.choice([1, 3, 8])
    # Bilinear may sum infinities of both signs, or not, by its order; the product of matrices that cdist
    # takes for many rows leaves nothing of a distance between large values.
    finite = f"{x.name}.nan_to_num(0, 1, -1)"
    directly = "compute_mode='donot_use_mm_for_euclid_dist'"
    text = g.r.choice(
        [f"torch.tensordot({x.name}, {g.carve(y, [m, n])}, 2)",
         f"torch.einsum('...ij,kj->...ik', {x.name}, {g.carve(y, [columns, n])})",
         f"torch.einsum('...ij,...ij->...', {x.name}, {x.name})",
         f"{x.name}.mT @ {x.name}", f"{x.name} @ {x.name}.mT",
         f"torch.kron({x.name}, {g.carve(y, [2])})",
         f"torch.matmul({g.carve(y, [2, *batch, columns, m])}, {x.name})",
         f"F.bilinear({finite}, {finite}, {g.carve(y, [2, n, n])})",
         f"torch.cdist({x.name}, {x.name} + 3, {directly})",
         f"torch.matmul({g.carve(y, [m])}, {x.name})"]
        + ([f"torch.baddbmm({g.carve(y, [batch[0], m, columns])}, {x.name}, "
            f"{g.carve(y, [batch[0], n, columns])}, beta=0.5)"] if len(batch) == 1 else [])
        + ([f"torch.addr({x.name}, {g.carve(y, [m])}, {g.carve(y, [n])}, alpha=2)",
            f"torch.addmv({g.carve(y, [m])}, {x.name}, {g.carve(y, [n])}, beta=0.5)",
            f"torch.linalg.multi_dot([{x.name}, {x.name}.t(), {x.name}])"] if not batch else [])
    )  # fmt: skip
    g.add(text, False)


@operation(4)
def images(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) == 4)
    text = g.r.choice(
        ["F.interpolate({x}, scale_factor=2, mode='nearest')", "F.adaptive_avg_pool2d({x}, (2, 1))",
         "F.interpolate({x}, size=(3, 5), mode='bilinear', align_corners=False)",
         "F.unfold({x}, 2, padding=1)", "F.pixel_shuffle({x}.repeat(1, 4, 1, 1), 2)",
         "F.interpolate({x}, size=(4, 3), mode='bilinear', align_corners=True)",
         "F.avg_pool2d({x}, 2, 1, 1, count_include_pad=False)", "F.lp_pool2d({x} + 3, 2, 2)"]
    )  # fmt: skip
    g.add(text.format(x=x.name), False)


@operation(3)
def more_windows(g: Generator) -> None:
    """Groups, biases, dilation, windows that stick out."""
    x = g.floats(lambda v: len(v.shape) in (3, 4))
    rank = len(x.shape) - 2
    y = g.floats(lambda v: v.dtype is x.dtype)
    size, channels = g.r.randint(1, 3), x.shape[1]
    # No farther than the input is long: a window must hold an element of it.
    stride, dilation = g.r.randint(1, 3), g.r.randint(1, max(1, min(3, *x.shape[2:])))
    kind = g.r.randrange(4)
    if kind < 2 and g.is_special:
        raise NoSuchValue  # see `window`
    groups = g.r.choice([n for n in (1, 2, 3, 4) if channels % n == 0])
    if kind == 0:
        out = groups * g.r.randint(1, 3)
        weight = g.carve(y, [out, channels // groups, *[size] * rank])
        bias = g.carve(y, [out])
        padding = g.r.choice([0, 1, 3, "'same'"]) if stride == 1 else g.r.randint(0, 3)
        g.add(
            f"F.conv{rank}d({x.name}, {weight}, {bias}, {stride}, {padding}, {dilation}, {groups})",
            False,
        )
    elif kind == 1:
        out = g.r.randint(1, 3)
        weight = g.carve(y, [channels, out, *[size] * rank])
        bias = g.carve(y, [out * groups])
        more = g.r.randint(0, max(stride, dilation) - 1)
        padding = g.r.randint(0, 2)
        g.add(
            f"F.conv_transpose{rank}d({x.name}, {weight}, {bias}, {stride}, {padding}, {more}, "
            f"{groups}, {dilation})",
            False,
        )
    elif kind == 2:
        if not x.exact:
            raise NoSuchValue
        ceil, padding = g.r.random() < 0.5, g.r.randint(0, size // 2)
        place = g.r.randint(0, 1)
        g.add(
            f"F.max_pool{rank}d({x.name}, {size}, {stride}, {padding}, {dilation}, {ceil}, "
            f"return_indices=True)[{place}]",
            True,
        )
    else:
        ceil, counts = g.r.random() < 0.5, g.r.random() < 0.5
        padding = g.r.randint(0, size // 2)
        g.add(f"F.avg_pool{rank}d({x.name}, {size}, {stride}, {padding}, {ceil}, {counts})", False)


@operation(2)
def attention(g: Generator) -> None:
    """Heads, masks, a scale of its own."""
    if g.is_special:
        raise NoSuchValue  # see `layers`
    x = g.floats(lambda v: len(v.shape) >= 2)
    y = g.floats(lambda v: v.dtype is x.dtype)
    heads, width = g.r.choice([1, 2, 3]), g.r.choice([1, 3, 8])
    rows, keys = g.r.choice([1, 4, 7]), g.r.choice([2, 5, 8])
    q = g.carve(x, [1, heads, rows, width])
    k, v = g.carve(y, [1, heads, keys, width]), g.carve(x, [1, heads, keys, width])
    mask = g.r.choice(["None", "float", "bool"])
    if mask == "float":
        mask = g.carve(y, [rows, keys])
    elif mask == "bool":
        b = g.pick(lambda v: v.dtype is torch.bool)
        mask = g.carve(b, [rows, keys])
    scale = g.r.choice(["None", "0.5"])
    g.add(f"F.scaled_dot_product_attention({q}, {k}, {v}, {mask}, scale={scale})", False)


@operation(2)
def running_statistics(g: Generator) -> None:
    """Batch norm that updates statistics; they must be contiguous and of their own."""
    if g.is_special:
        raise NoSuchValue  # eager multiplies value and mean by an infinite weight each
    x = g.floats(lambda v: len(v.shape) >= 2)
    y = g.floats(lambda v: v.dtype is x.dtype)
    channels = x.shape[1]
    mean, variance = g.carve(y, [channels]), g.carve(x, [channels])
    training = g.r.random() < 0.5
    g.add(
        f"F.batch_norm({x.name}, {mean}.clone(), {variance}.square() + 0.5, "
        f"{g.carve(y, [channels])}, None, {training}, 0.2)",
        False,
    )
