"""A rotating share of PyTorch's operator and module databases: forward and gradients are right.

`make op-db` runs all of it, in processes of their own. Here each day takes other entries and samples;
the header of the run names the seed to repeat it.
"""

import os

import op_db
import pytest

SAMPLES = 2


def share() -> list[str]:
    """The names of this run's entries."""
    seed, parts = int(os.environ["COREGRAD_OP_DB_SEED"]), int(os.environ["COREGRAD_OP_DB_SHARE"])
    return list(op_db.entries())[seed % parts :: parts]


@pytest.mark.parametrize("name", share())
def test_an_entry_of_the_operator_database_gives_what_eager_gives(name):
    entry = op_db.entries()[name]
    seed = int(os.environ["COREGRAD_OP_DB_SEED"])
    for dtype in op_db.dtypes_of(name, entry):
        result = op_db.run_entry(name, dtype, SAMPLES, seed)
        assert result.outcome not in op_db.BAD, f"{name} {dtype}: {result.outcome}: {result.detail}"
