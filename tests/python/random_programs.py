"""Random PyTorch programs: seeds to source text. `random_programs_run.py` runs and judges them.

A seed gives a `Program`: the text of a function, and expressions that make its inputs. So that a
difference means a fault, and not rounding, operations that jump or have kinks (comparisons, maxima,
sorting, conversions to integers) read only *exact* values: inputs, integers, and what data movement
makes of them.
"""

import random_moves
import random_operations
from random_generator import (
    Generator,
    HugeGenerator,
    Operations,
    Program,
    parse,
    resized,
    widened,
    with_dense_indices,
)

__all__ = [
    "Program",
    "generate",
    "generate_huge",
    "generate_short",
    "parse",
    "resized",
    "widened",
    "with_dense_indices",
]

TABLES = (random_operations.operation, random_moves.operation)
#: What stays of a size, adds up, or spreads again: what large tensors can be wrong in.
HUGE = ("smooth", "binary", "with_number", "reduction", "normalisation", "joining", "padding")


def generate(seed: int) -> Program:
    """The program of a seed: the same on every machine with this PyTorch."""
    return Generator(seed, TABLES).generate()


def generate_short(seed: int) -> Program:
    """A program of few lines, so that other sizes suit it too."""
    generator = Generator(seed, TABLES)
    generator.lengths = (1, 7)
    return generator.generate()


def generate_huge(seed: int) -> Program:
    """A short program over tensors of millions of elements."""
    chosen = Operations()
    for table in TABLES:
        for function, weight in zip(table.functions, table.weights):
            if function.__name__ in HUGE:
                chosen(weight)(function)
    return HugeGenerator(seed, (chosen,)).generate()
