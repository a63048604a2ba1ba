"""The same programs on other machines: instruction sets this one has, and caches so small that small
tensors are streamed, split, blocked and shared as large ones are, in memory that nothing may leave.

`make test-machines` runs the cases of operators and primitives so as well.
"""

import pytest
import worker_pool
from random_programs_run import BAD
from random_programs_run import __file__ as RUNNER

from coregrad import _core

NUM_SEEDS = 60
#: A register of a row outside the buffer was read, of which no lane was asked for.
ONCE_OUTSIDE = [201017]
#: All other tests are of the ordinary machine with the widest vectors.
MACHINES = [("generic", ""), *((isa, "tiny") for isa in _core.supported_isas())]


@pytest.fixture(params=MACHINES, ids=lambda machine: "-".join(filter(None, machine)))
def machine(request, monkeypatch):
    isa, settings = request.param
    monkeypatch.setenv("COREGRAD_ISA", isa)
    monkeypatch.setenv("COREGRAD_MACHINE", settings)
    monkeypatch.setenv("COREGRAD_CHECK_MEMORY", "1")


def test_random_programs_are_right_on_another_machine(machine):
    jobs = [{"seed": seed, "threads": 1 + seed % 9} for seed in [*range(NUM_SEEDS), *ONCE_OUTSIDE]]
    wrong = [r for r in worker_pool.run(RUNNER, jobs, 1) if r["outcome"] in BAD]
    assert not wrong, f"seed {wrong[0]['seed']}: {wrong[0]['detail']}\n{wrong[0].get('program')}"
