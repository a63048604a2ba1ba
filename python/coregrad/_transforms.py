"""Functions that make functions: gradients, Jacobians, products with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import _core
from ._core import Tensor
from ._trees import flatten, unflatten


def _detached(tree: Any) -> Any:
    tensors: list[Tensor] = []
    structure = flatten(tree, tensors)
    return unflatten(structure, iter([t.detach() for t in tensors]).__next__)


def value_and_grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Wrap a scalar function so that it returns its value and its gradient, recorded together.

    `argnums` says which positional arguments the gradient is taken for: one number gives one gradient,
    several give a tuple. An argument may be a tree (lists, tuples, dicts, dataclasses) of tensors; its
    gradient is such a tree, with everything else as it was. With `has_aux` the function returns a pair
    (value, anything), and the wrapped one ((value, anything), gradient). Raises AutogradError when the
    value is not one element or does not depend on one of the tensors.

    >>> import coregrad as cg
    >>> loss = lambda p, x: ((p["w"] * x + p["b"]) ** 2).sum()
    >>> p = {"w": cg.tensor([1.0, 2.0]), "b": cg.tensor([0.0, 1.0])}
    >>> value, slope = cg.value_and_grad(loss)(p, cg.tensor([1.0, 1.0]))
    >>> value.item(), slope["w"].tolist(), slope["b"].tolist()
    (10.0, [2.0, 6.0], [2.0, 6.0])
    """
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)

    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        for number in numbers:
            if not -len(args) <= number < len(args):
                raise _core.ValueError(
                    f"value_and_grad: argument {number} is none of {len(args)} positional ones"
                )
        tensors: list[Tensor] = []
        structures = [flatten(args[number], tensors) for number in numbers]
        aux: list[Any] = []

        def of_tensors(*fresh: Tensor) -> Tensor:
            full = list(args)
            take = iter(fresh).__next__
            for number, structure in zip(numbers, structures, strict=True):
                full[number] = unflatten(structure, take)
            result = function(*full, **kwargs)
            if has_aux:
                result, rest = result
                aux.append(_detached(rest))
            return result

        value, gradients = _core._value_and_grad(of_tensors, tensors)
        take = iter(gradients).__next__
        trees = [unflatten(structure, take) for structure in structures]
        slopes = trees[0] if isinstance(argnums, int) else tuple(trees)
        return ((value, aux[0]) if has_aux else value), slopes

    return wrapped


def grad(
    function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Wrap a scalar function so that it returns its gradient; nests for higher orders.

    Arguments are those of value_and_grad(); with `has_aux` the result is (gradient, anything).

    >>> import coregrad as cg
    >>> cube = lambda x: (x * x * x).sum()
    >>> cg.grad(lambda x: cg.grad(cube)(x).sum())(cg.tensor([2.0])).tolist()
    [12.0]
    """
    both = value_and_grad(function, argnums, has_aux)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value, slopes = both(*args, **kwargs)
        return (slopes, value[1]) if has_aux else slopes

    return wrapped


def _dot(a: Sequence[Tensor], b: Sequence[Tensor], operation: str) -> Tensor:
    if len(a) != len(b) or any(x.shape != y.shape for x, y in zip(a, b, strict=False)):
        raise _core.ShapeError(
            f"{operation}: expected tensors of {[list(x.shape) for x in a]},"
            f" got {[list(y.shape) for y in b]}"
        )
    terms = [(x * y).sum() for x, y in zip(a, b, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Give `function(*primals)` and a function that multiplies a tree like it by the Jacobian.

    What it returns is a tuple with a tree for each primal.

    >>> import coregrad as cg
    >>> y, pull = cg.vjp(lambda x: x * x, cg.tensor([1.0, 2.0]))
    >>> y.tolist(), pull(cg.tensor([1.0, 10.0]))[0].tolist()
    ([1.0, 4.0], [2.0, 40.0])
    """

    def pull(cotangents: Any) -> Any:
        given: list[Tensor] = []
        flatten(cotangents, given)

        def weighted(*args: Any) -> Tensor:
            outputs: list[Tensor] = []
            flatten(function(*args), outputs)
            return _dot(outputs, given, "vjp")

        return grad(weighted, tuple(range(len(primals))))(*primals)

    return function(*primals), pull


def jvp(
    function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """Give `function(*primals)` and the Jacobian times the tangents, a tree like the result.

    It is the gradient of a gradient that is linear in it, so its cost is that of two.

    >>> import coregrad as cg
    >>> x, t = cg.tensor([1.0, 2.0]), cg.tensor([1.0, 10.0])
    >>> cg.jvp(lambda x: x * x, (x,), (t,))[1].tolist()
    [2.0, 40.0]
    """
    directions: list[Tensor] = []
    flatten(tuple(tangents), directions)
    value = function(*primals)
    outputs: list[Tensor] = []
    structure = flatten(value, outputs)

    def along(*weights: Tensor) -> Tensor:
        tree = unflatten(structure, iter(weights).__next__)
        slopes: list[Tensor] = []
        flatten(vjp(function, *primals)[1](tree), slopes)
        return _dot(slopes, directions, "jvp")

    zeros = [_core.zeros(t.shape, dtype=t.dtype) for t in outputs]
    products = grad(along, tuple(range(len(outputs))))(*zeros)
    return value, unflatten(structure, iter(products).__next__)


def jacrev(function: Callable[..., Tensor], argnums: int = 0) -> Callable[..., Any]:
    """Wrap a function of tensors so that it returns its Jacobian: [*result, *argument].

    A gradient is recorded for each element of the result.

    >>> import coregrad as cg
    >>> cg.jacrev(lambda x: x * x)(cg.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    def wrapped(*args: Any) -> Tensor:
        result = function(*args)
        rows = []
        for number in range(result.numel):

            def element(*inner: Any, number: int = number) -> Tensor:
                return function(*inner).reshape((-1,)).select(0, number)

            rows.append(grad(element, argnums)(*args))
        argument = args[argnums]
        if not rows:
            return _core.zeros((*result.shape, *argument.shape), dtype=argument.dtype)
        return _core.stack(rows, 0).reshape((*result.shape, *argument.shape))

    return wrapped


def hessian(function: Callable[..., Tensor], argnums: int = 0) -> Callable[..., Any]:
    """Wrap a scalar function so that it returns its second derivatives: [*argument, *argument].

    >>> import coregrad as cg
    >>> cg.hessian(lambda x: (x * x * x).sum())(cg.tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacrev(grad(function, argnums), argnums)
