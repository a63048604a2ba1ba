"""Random PyTorch programs: seeds to source text. `random_programs_run.py` runs and judges them.

A seed gives a `Program`: the text of a function, and expressions that make its inputs. So that a
difference means a fault, and not rounding, operations that jump or have kinks (comparisons, maxima,
sorting, conversions to integers) read only *exact* values: inputs, integers, and what data movement
makes of them.
"""

import random_moves
import random_operations
from random_generator import Generator, Program, parse, widened

__all__ = ["Program", "generate", "parse", "widened"]

TABLES = (random_operations.operation, random_moves.operation)


def generate(seed: int) -> Program:
    """The program of a seed: the same on every machine with this PyTorch."""
    return Generator(seed, TABLES).generate()
