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
#: Once wrong: a register outside the buffer was read of which no lane was asked for; one thread took
#: all chunks of a step at once.
ONCE_WRONG = [(201017, 2), (220032, 1)]
#: All other tests are of the ordinary machine with the widest vectors.
MACHINES = [("generic", ""), *((isa, "tiny") for isa in _core.supported_isas())]


@pytest.fixture(params=MACHINES, ids=lambda machine: "-".join(filter(None, machine)))
def machine(request, monkeypatch):
    isa, settings = request.param
    monkeypatch.setenv("COREGRAD_ISA", isa)
    monkeypatch.setenv("COREGRAD_MACHINE", settings)
    monkeypatch.setenv("COREGRAD_CHECK_MEMORY", "1")


def test_random_programs_are_right_on_another_machine(machine):
    seeds = [(seed, 1 + seed % 9) for seed in range(NUM_SEEDS)] + ONCE_WRONG
    jobs = [{"seed": seed, "threads": threads} for seed, threads in seeds]
    wrong = [r for r in worker_pool.run(RUNNER, jobs, 1) if r["outcome"] in BAD]
    assert not wrong, f"seed {wrong[0]['seed']}: {wrong[0]['detail']}\n{wrong[0].get('program')}"
