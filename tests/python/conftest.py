"""Options of the whole suite (which share of PyTorch's operator database a run takes), and fixtures."""

import datetime
import os

import pytest

SEED = "COREGRAD_OP_DB_SEED"
SHARE = "COREGRAD_OP_DB_SHARE"


def pytest_addoption(parser):
    group = parser.getgroup("coregrad")
    group.addoption("--op-db-seed", help=f"which entries and samples (default: the date; {SEED})")
    group.addoption("--op-db-share", help=f"one entry in how many (default: 8; {SHARE})")


def pytest_configure(config):
    # CompilerFaultWarning, by its text: to name the class imports PyTorch in every process.
    config.addinivalue_line("filterwarnings", "error:coregrad. .* mistake:RuntimeWarning")
    # Through the environment, so that the processes of pytest-xdist choose alike also at midnight.
    today = datetime.date.today().toordinal()
    for name, option, default in ((SEED, "op_db_seed", today), (SHARE, "op_db_share", 8)):
        given = config.getoption(option)
        if given is not None:
            os.environ[name] = given
        os.environ.setdefault(name, str(default))


def pytest_report_header(config):
    return (
        f"operator database: one entry in {os.environ[SHARE]}, seed {os.environ[SEED]} "
        "(--op-db-share, --op-db-seed)"
    )


@pytest.fixture
def fresh_torch():
    """Nothing compiled, no reports, and PyTorch's random numbers from the start."""
    import torch

    import coregrad.torch

    torch._dynamo.reset()
    coregrad.torch.reset()
    torch.manual_seed(0)
