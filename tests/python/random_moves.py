"""What moves data in random programs: views, joins, indexing, writes.

Each operation adds one line, or raises.
"""

from __future__ import annotations

import torch
from random_generator import Generator, NoSuchValue, Operations, Value

from coregrad.torch.aliasing import elements_overlap

operation = Operations()


@operation(9)
def view(g: Generator) -> None:
    x = g.pick(lambda v: bool(v.shape))
    d, e = g.dim(x), g.dim(x)
    n = x.shape[d]
    dims = g.r.sample(range(len(x.shape)), len(x.shape))
    start = g.r.randint(0, max(n - 1, 0))
    stop = g.r.randint(start, n)
    step = g.r.randint(1, 3)
    at = ":, " * (d % len(x.shape))
    count = g.r.randint(1, max(n, 1))
    last = f"({', '.join(str(s) for s in x.shape[:-1])}{',' if len(x.shape) > 1 else ''} -1)"
    text = g.r.choice(
        ["{x}.transpose({d}, {e})", "{x}.permute({dims})", "{x}.unsqueeze({d})", "{x}.squeeze()",
         "{x}.flatten()", "{x}.reshape(-1)", "{x}.reshape({shuffled})",
         "{x}[{at}{start}:{stop}:{step}]",
         "{x}.select({d}, {start})", "{x}.narrow({d}, {start}, {count0})", "{x}.flip({d})",
         "torch.roll({x}, {step}, {d})", "{x}.repeat_interleave({step}, {d})",
         "{x}.chunk({step}, {d})[0]",
         "{x}.split({count}, {d})[-1]", "{x}.unbind({d})[{start}]", "{x}.expand(2, {same})",
         "{x}.movedim({d}, {e})", "{x}.contiguous()", "{x}.diagonal(dim1={d}, dim2={e})",
         "torch.tril({x})", "torch.triu({x}, 1)", "{x}.unfold({d}, {count}, {step})", "{x}.mT",
         "{x}.repeat(2, {ones})", "torch.rot90({x}, 1, [{d}, {e}])",
         "{x}.swapaxes({d}, {e}).reshape(-1)",
         "{x}[..., None]", "{x}[{at}-1]", "torch.broadcast_to({x}, {wide})", "{x}.clone()",
         "torch.diag_embed({x})", "{x}.view({last})", "torch.tile({x}, (2,))", "{x}.T.contiguous()",
         "{x}.tensor_split({step}, {d})[0]", "{x}.view_as({x})"]
    )  # fmt: skip
    g.add(
        text.format(
            x=x.name,
            d=d,
            e=e,
            dims=dims,
            at=at,
            start=start,
            stop=stop,
            step=step,
            count=count,
            count0=stop - start,
            shuffled=[x.shape[i] for i in dims],
            same=", ".join(str(s) for s in x.shape),
            ones=", ".join("1" for _ in x.shape),
            wide=[2, *x.shape],
            last=last,
        ),
        x.exact,
    )


@operation(2)
def padding(g: Generator) -> None:
    x = g.floats(lambda v: len(v.shape) >= 1)
    a, b = g.r.randint(-1, 2), g.r.randint(0, 2)
    if g.r.random() < 0.6 or len(x.shape) not in (2, 3):
        g.add(f"F.pad({x.name}, ({a}, {b}), value={g.r.choice(['0.0', '1.5'])})", x.exact)
    else:
        mode = g.r.choice(["reflect", "replicate", "circular"])
        g.add(f"F.pad({x.name}, ({abs(a)}, {b}), mode={mode!r})", x.exact)


@operation(4)
def joining(g: Generator) -> None:
    x = g.pick()
    others = [v for v in g.values if v.shape == x.shape and v.is_float == x.is_float]
    chosen = [x, *g.r.choices(others, k=g.r.randint(0, 2))]
    names = ", ".join(v.name for v in chosen)
    exact = all(v.exact for v in chosen)
    if not x.shape or g.r.random() < 0.4:
        place = g.r.randint(0, len(x.shape))
        g.add(f"torch.stack([{names}], {place})", exact)
    else:
        g.add(f"torch.cat([{names}], {g.dim(x)})", exact)


@operation(9)
def indexing(g: Generator) -> None:
    x = g.pick(lambda v: bool(v.shape))
    d = g.dim(x) % len(x.shape)
    n = x.shape[d]
    at = ":, " * d
    kind = g.r.randrange(7)
    if kind == 0:
        _, i = g.index(n)
        g.add(f"{x.name}[{at}{i}]", x.exact)
    elif kind == 1:
        i, _ = g.index(n, lambda v: len(v.shape) == 1)
        g.add(f"{x.name}.index_select({d}, {i.name} % {n})", x.exact)
    elif kind == 2:
        i, _ = g.index(n, lambda v: len(v.shape) == len(x.shape))
        g.add(f"torch.gather({x.name}, {d}, {i.name} % {n})", x.exact)
    elif kind == 3 and len(x.shape) == 2:
        i, _ = g.index(x.shape[0])
        g.add(f"F.embedding({i.name} % {x.shape[0]}, {x.name})", x.exact)
    elif kind == 4 and len(x.shape) >= 2:
        i, text = g.index(x.shape[0])
        m = x.shape[1]
        if not m:
            raise NoSuchValue
        g.add(f"{x.name}[{text}, {i.name} % {m}]", x.exact)
    elif kind == 5:
        i, _ = g.index(n, lambda v: len(v.shape) == 1)
        y = g.like(x, lambda v: v.dtype is x.dtype)
        source = g.carve(y, [*x.shape[:d], *i.shape, *x.shape[d + 1 :]])
        if x.dtype is torch.bool:
            raise NoSuchValue
        g.add(f"{x.name}.index_add({d}, {i.name} % {n}, {source})", False)
    else:
        i, _ = g.index(n, lambda v: v.shape == x.shape)
        if x.dtype is torch.bool:
            raise NoSuchValue
        if g.r.random() < 0.5:
            g.add(f"{x.name}.scatter_add({d}, {i.name} % {n}, {x.name})", False)
        else:
            g.add(f"{x.name}.scatter({d}, {i.name} % {n}, 2)", x.exact)


@operation(6)
def more_indexing(g: Generator) -> None:
    """Indices and values that are slices, and the rest of the family."""
    x = g.pick(lambda v: bool(v.shape) and v.dtype is not torch.bool)
    d = g.dim(x) % len(x.shape)
    n = x.shape[d]
    if not n:
        raise NoSuchValue
    numbers = [
        v for v in g.values if v.dtype is torch.int64 and len(v.shape) == 1 and v.shape[0] > 1
    ]
    made = g.r.randint(2, 5)
    i, count = f"torch.arange({made}) * {g.r.randint(1, 9)}", made - 1
    if numbers and g.r.random() < 0.5:
        chosen = g.r.choice(numbers)
        i, count = chosen.name, chosen.shape[0] - 1
    y = g.like(x, lambda v: v.dtype is x.dtype)
    rows = f"({i} % {n})[1:]"
    shape = [*x.shape[:d], count, *x.shape[d + 1 :]]
    wide = [1] * len(shape)
    wide[d] = count
    index = f"{rows}.reshape({wide}).expand({shape})"
    source = g.carve(y, [*x.shape[:d], count + 1, *x.shape[d + 1 :]])
    source += f".narrow({d}, 1, {count})"
    exact = x.exact and y.exact
    kind = g.r.randrange(9)
    if kind == 0:
        g.add(f"{x.name}.scatter_add({d}, {index}, {source})", False)
    elif kind == 1:
        way = g.r.choice(["amax", "amin"]) if exact else g.r.choice(["sum", "mean"])
        own = g.r.random() < 0.5
        text = f"{x.name}.scatter_reduce({d}, {index}, {source}, {way!r}, include_self={own})"
        g.add(text, exact)
    elif kind == 2:  # of equal indices nobody knows which one wins
        g.add(f"{x.name}.index_copy({d}, {rows}[:1], {source}.narrow({d}, 0, 1))", exact)
    elif kind == 3:
        g.add(f"{x.name}.index_fill({d}, {rows}, 2)", x.exact)
    elif kind == 4:
        g.add(f"{x.name}.index_select({d}, {rows}).transpose({d}, -1)", x.exact)
    elif kind in (5, 6) and elements_overlap(x.tensor):
        raise NoSuchValue  # eager keeps the strides, so a write reaches other elements as well
    elif kind == 5:
        start = g.r.randint(0, n - 1)
        step = g.r.randint(1, 3)
        length = len(range(start, n, step))
        part = g.carve(y, [*x.shape[:d], length, *x.shape[d + 1 :]])
        g.add(f"torch.slice_scatter({x.name}, {part}, {d}, {start}, None, {step})", exact)
    elif kind == 6:
        part = g.carve(y, [*x.shape[:d], *x.shape[d + 1 :]])
        g.add(f"torch.select_scatter({x.name}, {part}, {d}, {g.r.randint(0, n - 1)})", exact)
    elif kind == 7:
        g.add(f"torch.take({x.name}, {i} % {x.tensor.numel()})", x.exact)
    else:
        g.add(f"{x.name}.index_put([{rows}], {_ones(x, count, g)}, accumulate=True)", False)


def _ones(x: Value, count: int, g: Generator) -> str:
    """Values to add at rows of x."""
    y = g.like(x, lambda v: v.dtype is x.dtype)
    return g.carve(y, [count, *x.shape[1:]])


@operation(3)
def more_joining(g: Generator) -> None:
    """Concatenations of computed parts that are read again, and strided views."""
    x = g.floats(lambda v: 1 <= len(v.shape) <= 3)
    y = g.like(x, lambda v: v.shape == x.shape and v.dtype is x.dtype)
    d = g.dim(x)
    kind = g.r.randrange(5)
    if kind == 0:
        parts = f"[torch.tanh({x.name}), {y.name}, {x.name} * {y.name}]"
        g.add(f"torch.cat({parts}, {d})", False)
    elif kind == 1:
        parts = f"torch.stack([torch.sin({x.name}), {y.name} + 1], {d})"
        g.add(f"{parts}.unflatten({d}, [2, 1]).squeeze()", False)
    elif kind == 2:
        n = x.tensor.numel()
        rows, columns = g.r.randint(1, 4), g.r.randint(1, 4)
        strides = [g.r.randint(1, 3), g.r.randint(1, 3)]
        if (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1 >= n:
            raise NoSuchValue
        flat = f"{x.name}.flatten()[1:].contiguous()"
        g.add(f"{flat}.as_strided([{rows}, {columns}], {strides}).clone()", x.exact)
    elif kind == 3:
        g.add(f"torch.hstack([{x.name}, {y.name}.exp().clamp_max(1)])", False)
    else:
        g.add(f"torch.block_diag({x.name}[:2].reshape(-1), {y.name}.flatten()[:3])", x.exact)


@operation(5)
def assignment(g: Generator) -> None:
    """Writes through indices, masks and slices."""
    x = g.pick(lambda v: _is_writable(v, g))
    y = g.like(x, lambda v: v.dtype is x.dtype)
    n = x.shape[0]
    kind = g.r.randrange(5)
    exact = x.exact and y.exact
    if kind == 0:
        start = g.r.randint(0, max(n - 1, 0))
        step = g.r.randint(1, 2)
        text = (
            f"{x.name}[{start}::{step}] = {y.name}[..., :1]"
            if y.shape
            else f"{x.name}[0] = {y.name}"
        )
    elif kind == 1:
        _, i = g.index(n, lambda v: len(v.shape) == 1)
        text = f"{x.name}[{i}] = {g.r.choice(['2', '-1'])}"
    elif kind == 2:
        i, _ = g.index(n, lambda v: len(v.shape) == 1)
        if x.dtype is torch.bool:
            raise NoSuchValue
        rows = g.carve(y, [*i.shape, *x.shape[1:]])
        text = f"{x.name}.index_add_(0, {i.name} % {n}, {rows})"
        exact = False
    elif kind == 3:
        i, _ = g.index(n, lambda v: v.shape == x.shape)
        if x.dtype is torch.bool:
            raise NoSuchValue
        way = g.r.choice(["amax", "amin"]) if exact else "sum"
        text = f"{x.name}.scatter_reduce_(0, {i.name} % {n}, {x.name}.clone(), {way!r})"
        exact = exact and way != "sum"
    else:
        c = g.pick(lambda v: v.dtype is torch.bool and v.shape == x.shape)
        text = f"{x.name}[{c.name}] = {g.r.choice(['1', '0'])}"
    g.write(x, text, exact)


@operation(2)
def creation(g: Generator) -> None:
    x = g.pick()
    n = g.r.choice(g.sizes)
    text = g.r.choice(
        [f"torch.arange({n})", f"torch.arange({n}, dtype=torch.float32)", f"torch.zeros_like({x.name})",
         f"torch.full({x.shape}, 2)", f"torch.ones({x.shape}, dtype={x.dtype})", f"torch.eye({n})",
         f"torch.full_like({x.name}, 1)", f"torch.arange({n}, 0, -1)", f"{x.name}.new_zeros([{n}])",
         "torch.tensor(0.5)", "torch.scalar_tensor(3)"]
    )  # fmt: skip
    g.add(text, True)


@operation(4)
def in_place(g: Generator) -> None:
    x = g.pick(lambda v: _is_writable(v, g))
    y = g.like(x, lambda v: v.dtype is x.dtype)
    view = g.r.choice(["", "", ".transpose(0, -1)", "[..., :1]", "[0]", "[::2]", ".flatten()[1:]"])
    c = [v.name for v in g.values if v.dtype is torch.bool and v.shape == x.shape]
    texts = [
        *("{x}{v}.add_({y})", "{x}{v}.mul_({y})", "{x}{v}.copy_({y})", "{x}{v}.sub_({y}, alpha=2)"),
        *("{x}{v}.zero_()", "{x}{v}.fill_(2)", "{x}{v}.mul_(3)", "{x}{v}.neg_()"),
    ]
    if x.dtype is torch.bool:
        texts = ["{x}{v}.logical_not_()", "{x}{v}.zero_()", "{x}{v}.copy_({y})"]
    elif x.is_float:
        texts += ["{x}{v}.tanh_()", "{x}{v}.sigmoid_()", "{x}{v}.addcmul_({y}, {y})"]
    if c:
        texts.append(f"{{x}}.masked_fill_({g.r.choice(c)}, 1)")
    text = g.r.choice(texts)
    keeps = ("zero_", "fill_", "neg_", "logical_not_")
    exact = x.exact and (any(k in text for k in keeps) or ("copy_" in text and y.exact))
    if ".flatten()" in view and not x.tensor.is_contiguous():
        view = ""
    g.write(x, text.format(x=x.name, y=y.name, v=view), exact)


def _is_writable(v: Value, g: Generator) -> bool:
    """What the program made, and inputs that require no gradient."""
    x = v.tensor
    if any(s == 0 and n > 1 for s, n in zip(x.stride(), x.shape)) or not x.shape:
        return False
    storages = {
        w.tensor.untyped_storage()._cdata for w in g.values if w.name[0] == "x" and w.is_float
    }
    return x.untyped_storage()._cdata not in storages
