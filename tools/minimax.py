#!/usr/bin/env python3
"""Minimax polynomials for src/codegen/math/vector_math*.cpp.

Prints src/codegen/math/vector_math_tables.h. Each polynomial minimises the largest weighted error over
its interval (Remez exchange in 60-digit arithmetic); the coefficients are then rounded to the working
precision. The errors it states are those of the rounded coefficients.

    python tools/minimax.py > src/codegen/math/vector_math_tables.h
    python tools/minimax.py --report      # the weighted error of each polynomial, as a power of two
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]


@dataclass
class Problem:
    """target(x) ~ sum of c[k] x^k, k < terms, on [low, high]; the error counts times weight(x)."""

    name: str
    target: Function
    weight: Function
    low: mp.mpf
    high: mp.mpf
    terms: int
    bits: int  # of a coefficient: 24 or 53
    about: str


def round_to(value: mp.mpf, bits: int) -> mp.mpf:
    with mp.workprec(bits):
        return +value


def grid(low: mp.mpf, high: mp.mpf, count: int) -> list[mp.mpf]:
    """Points that crowd at the ends as the extrema of a Chebyshev polynomial do, without the ends."""
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]


def fit(xs, targets, weights, unknowns):
    """Remez exchange over the grid; returns the coefficients and the largest weighted error."""
    step = len(xs) / (unknowns + 1)
    chosen = [int((i + 0.5) * step) for i in range(unknowns + 1)]
    table = [[x**p for p in range(unknowns)] for x in xs]
    coefficients, worst = [], mp.mpf(0)
    for _ in range(30):
        matrix = mp.matrix(unknowns + 1)
        right = mp.matrix(unknowns + 1, 1)
        for row, i in enumerate(chosen):
            for column in range(unknowns):
                matrix[row, column] = table[i][column]
            matrix[row, unknowns] = (-1) ** row / weights[i]
            right[row] = targets[i]
        solution = mp.lu_solve(matrix, right)
        coefficients, level = list(solution[:unknowns]), abs(solution[unknowns])
        errors = [
            w * (t - mp.fdot(coefficients, row)) for t, w, row in zip(targets, weights, table)
        ]
        worst = max(abs(e) for e in errors)
        if worst <= level * mp.mpf("1.005"):
            break
        # The largest error of each run of equal sign; surplus runs go from the ends.
        runs: list[int] = []
        for i, error in enumerate(errors):
            if runs and (error < 0) == (errors[runs[-1]] < 0):
                if abs(error) > abs(errors[runs[-1]]):
                    runs[-1] = i
            else:
                runs.append(i)
        if len(runs) < unknowns + 1:
            break
        while len(runs) > unknowns + 1:
            runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
        chosen = runs
    return coefficients, worst


def solve(problem: Problem) -> tuple[list[mp.mpf], mp.mpf]:
    """The rounded coefficients, and their largest weighted error."""
    xs = grid(problem.low, problem.high, 16 * (problem.terms + 1))
    weights = [problem.weight(x) for x in xs]
    rest = [problem.target(x) for x in xs]
    coefficients, _ = fit(xs, rest, weights, problem.terms)
    rounded = [round_to(c, problem.bits) for c in coefficients]
    return rounded, max(
        abs(w * (t - mp.polyval(rounded[::-1], x))) for t, w, x in zip(rest, weights, xs)
    )


def problems() -> list[Problem]:
    ln2 = mp.log(2)
    result: list[Problem] = []

    def both(name, target, weight, low, high, terms32, terms64, about):
        for suffix, terms, bits in (("F32", terms32, 24), ("F64", terms64, 53)):
            if terms:
                result.append(
                    Problem(
                        f"k{name}{suffix}",
                        target,
                        weight,
                        mp.mpf(low),
                        mp.mpf(high),
                        terms,
                        bits,
                        about,
                    )
                )

    half_ln2 = ln2 / 2 * mp.mpf("1.01")
    both(
        "Exp",
        lambda r: (mp.expm1(r) - r) / r**2,
        lambda r: r**2 / mp.exp(r),
        -half_ln2,
        half_ln2,
        5,
        11,
        "(exp(r) - 1 - r) / r^2",
    )
    both(
        "Exp2",
        lambda r: mp.expm1(r * ln2) / r,
        lambda r: abs(r) / 2**r,
        mp.mpf("-0.505"),
        mp.mpf("0.505"),
        6,
        12,
        "(2^r - 1) / r",
    )
    log_low, log_high = mp.sqrt(mp.mpf("0.5")) - 1, mp.sqrt(2) - 1
    both(
        "Log",
        lambda f: (mp.log1p(f) - f) / f**2,
        lambda f: f**2 / abs(mp.log1p(f)),
        log_low,
        log_high,
        9,
        21,
        "(log(1 + f) - f) / f^2",
    )
    both(
        "Log2",
        lambda f: mp.log1p(f) / ln2 / f - 1,
        lambda f: f * ln2 / mp.log1p(f),
        log_low,
        log_high,
        10,
        22,
        "log2(1 + f) / f - 1",
    )
    both(
        "Log10",
        lambda f: mp.log1p(f) / mp.log(10) / f - 0.5,
        lambda f: f * mp.log(10) / mp.log1p(f),
        log_low,
        log_high,
        10,
        22,
        "log10(1 + f) / f - 1/2",
    )
    quarter = (mp.pi / 4 + mp.mpf("0.02")) ** 2
    both(
        "Sin",
        lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z * mp.sqrt(z) / mp.sin(mp.sqrt(z)),
        0,
        quarter,
        3,
        7,
        "(sin(r) - r) / r^3 in z = r^2",
    )
    both(
        "Cos",
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
        lambda z: z**2 / mp.cos(mp.sqrt(z)),
        0,
        quarter,
        3,
        7,
        "(cos(r) - 1 + r^2/2) / r^4 in z = r^2",
    )
    both(
        "Asin",
        lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z * mp.sqrt(z) / mp.asin(mp.sqrt(z)),
        0,
        mp.mpf("0.5625") ** 2,
        6,
        14,
        "(asin(x) - x) / x^3 in z = x^2",
    )
    both(
        "Atan",
        lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z * mp.sqrt(z) / mp.atan(mp.sqrt(z)),
        0,
        1,
        9,
        0,
        "(atan(x) - x) / x^3 in z = x^2",
    )
    both(
        "Atan",
        lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z * mp.sqrt(z) / mp.atan(mp.sqrt(z)),
        0,
        (mp.sqrt(2) - 1) ** 2 * mp.mpf("1.001"),
        0,
        11,
        "the same for |x| <= tan(pi/8)",
    )
    both(
        "Sinh",
        lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z * mp.sqrt(z) / mp.sinh(mp.sqrt(z)),
        0,
        1,
        4,
        8,
        "(sinh(x) - x) / x^3 in z = x^2",
    )
    both(
        "Tanh",
        lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z)),
        0,
        mp.mpf("0.4"),
        5,
        12,
        "(tanh(x) - x) / x^3 in z = x^2",
    )
    both(
        "Erf",
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
        0,
        1,
        7,
        14,
        "erf(x) / x - 1 in z = x^2",
    )
    both(
        "ErfTail",
        lambda t: mp.erfc(t + mp.mpf("2.5")),
        lambda t: mp.mpf(1),
        mp.mpf("-1.5"),
        mp.mpf("1.5"),
        14,
        0,
        "erfc(t + 2.5)",
    )
    both(
        "ErfTail",
        lambda t: mp.erfc(1 / t - 1) * mp.exp((1 / t - 1) ** 2) * mp.mpf(1),
        lambda t: mp.exp(-((1 / t - 1) ** 2)),
        mp.mpf(1) / 7,
        mp.mpf(1) / 2,
        0,
        15,
        "erfc(x) exp(x^2) in t = 1 / (1 + x)",
    )
    both(
        "PowLog2",
        lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z)) * 2 / ln2,
        lambda z: mp.sqrt(z) / mp.atanh(mp.sqrt(z)),
        0,
        mp.mpf("0.0295"),
        0,
        5,
        "2 atanh(s) / (s ln 2) in z = s^2, for float32 results",
    )
    both(
        "PowTail",
        lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1 - z / 3) / z**2,
        lambda z: z**2 * mp.sqrt(z) / mp.atanh(mp.sqrt(z)),
        0,
        mp.mpf("0.0295"),
        0,
        8,
        "(atanh(s)/s - 1 - s^2/3) / s^4 in z = s^2",
    )
    both(
        "PowExp2",
        lambda r: 2**r,
        lambda r: 1 / 2**r,
        mp.mpf("-0.501"),
        mp.mpf("0.501"),
        0,
        7,
        "2^r for float32 results",
    )
    return result


def two_over_pi() -> mp.mpf:
    with mp.workprec(64 * 23):
        return 2 / mp.pi


def hexadecimal(value: mp.mpf) -> str:
    text = float(value).hex()
    mantissa, exponent = text.split("p")
    return mantissa.rstrip("0").rstrip(".") + "p" + exponent


def print_header(solved) -> None:
    print("#pragma once")
    print("// Minimax coefficients, lowest power first. Written by tools/minimax.py: do not edit.")
    print("\n// clang-format off\nnamespace coregrad::tables {")
    for problem, coefficients, error in solved:
        print(f"\n/// {problem.about}; relative error 2^{float(mp.log(error, 2)):.1f}.")
        print(f"inline constexpr double {problem.name}[] = {{")
        for c in coefficients:
            print(f"    {hexadecimal(c)},")
        print("};")
    print("\n/// 64 zero bits, then the binary digits of 2/pi after the point.")
    print("inline constexpr unsigned long long kTwoOverPi[] = {")
    with mp.workprec(64 * 23):
        digits = int(mp.floor(two_over_pi() * mp.mpf(2) ** (64 * 21)))
    for word in [0] + [(digits >> (64 * i)) & (2**64 - 1) for i in range(20, -1, -1)]:
        print(f"    0x{word:016x},")
    print("};")
    print("\n}  // namespace coregrad::tables\n// clang-format on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--only", default="", help="names that contain this")
    arguments = parser.parse_args()
    solved = []
    for problem in problems():
        if arguments.only not in problem.name:
            continue
        coefficients, error = solve(problem)
        solved.append((problem, coefficients, error))
        print(
            f"{problem.name}: {problem.terms} terms, 2^{float(mp.log(error, 2)):.1f}",
            file=sys.stderr,
        )
    if not arguments.report:
        print_header(solved)


if __name__ == "__main__":
    main()
