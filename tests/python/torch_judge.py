"""Is a tensor the right answer? The judge of all comparisons with PyTorch."""

import math

import torch
from tolerances import SLACK


def compare(got, eager, exact=None, slack=None):
    """None if `got` is right, else what is wrong with it.

    `eager` is PyTorch's own answer and `exact` the same computed in float64, if there is one.
    Integers and bools must equal eager's. Floats may miss `exact` by twice eager's own largest error
    and the slack of the table; NaN must stand where eager has them, infinities where `exact` or eager
    has them. `slack` names the dtype whose slack counts, if it is not their own.
    """
    if not isinstance(eager, torch.Tensor):
        return None if got == eager or (got != got and eager != eager) else f"{got!r} for {eager!r}"
    if got.dtype != eager.dtype or got.shape != eager.shape:
        return f"gave {_type(got)}, eager {_type(eager)}"
    if eager.layout != torch.strided or not eager.numel():
        return None
    if exact is None or exact.shape != eager.shape:
        exact = eager
    got, eager, exact = (_plain(v) for v in (got, eager, exact))
    if eager.dtype not in SLACK:
        return _first(got != eager, got, eager, "differs from eager")
    absolute, relative = SLACK[slack or eager.dtype]
    got, eager, exact = got.double(), eager.double(), exact.double()
    message = _first(got.isnan() != eager.isnan(), got, eager, "NaN in the wrong place")
    if message is not None:
        return message
    error = (eager - exact).abs()
    finite = error[error.isfinite()]
    own = finite.max().item() if finite.numel() else 0.0
    limit = 2 * own + absolute + relative * exact.abs()
    right = (got == exact) | (got == eager) | got.isnan() | ((got - exact).abs() <= limit)
    note = f" (eager's own largest error {own:.3g})"
    message = _first(~right, got, exact, "too far from the exact value")
    return None if message is None else message + note


def compare_all(got, eager, exact=None, slack=None):
    """The first message of `compare` over two lists, with the place; None if all is right."""
    if len(got) != len(eager):
        return f"gave {len(got)} results, eager {len(eager)}"
    exact = exact if exact is not None and len(exact) == len(eager) else [None] * len(eager)
    for number, (g, e, x) in enumerate(zip(got, eager, exact)):
        if (g is None) != (e is None):
            return f"[{number}] is {g if g is None else 'a value'}, eager's is the other"
        message = None if e is None else compare(g, e, x, slack)
        if message is not None:
            return f"[{number}] {message}"
    return None


def _plain(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(tensor) if tensor.dtype.is_complex else tensor


def _type(tensor):
    return f"{tensor.dtype}{list(tensor.shape)}"


def _first(wrong, got, want, what):
    """A message about the worst wrong element, or None."""
    if not wrong.any():
        return None
    distance = (got.double() - want.double()).abs().nan_to_num(math.inf)
    place = tuple(
        int(i) for i in torch.unravel_index(torch.where(wrong, distance, -1).argmax(), wrong.shape)
    )
    counts = f"{int(wrong.sum())} of {wrong.numel()}"
    return f"{what}: {got[place].item()} for {want[place].item()} at {list(place)}, {counts}"
