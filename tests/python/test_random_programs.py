"""Random PyTorch programs are right, with other outputs and other numbers of threads too.

`make random-programs SEEDS=0:5000` runs more. Programs that were once wrong stand in `ONCE_WRONG`.
"""

import pytest
import torch
import worker_pool
from random_programs import generate, parse
from random_programs_run import BAD, check, check_alone, check_seed, cut_down
from random_programs_run import __file__ as RUNNER

from coregrad.torch import lowering

NUM_SEEDS = 1000

#: What was wrong, and the smallest program that showed it.
ONCE_WRONG = {
    "an empty sum in a kernel with others was joined by dividing by its length": """
# under torch.no_grad()
x1 = make_input([0, 7, 0], torch.float64, 'normal', 'contiguous', 1)
x3 = make_input([7, 7], torch.float64, 'normal', 'contiguous', 3)
def program(x1, x3):
    v0 = torch.logaddexp(x1, x1.to(x1.dtype))
    v3 = x1 / (v0.square() + 0.5)
    v4 = torch.logsumexp(x3, [0, 1], False)
    v5 = torch.sum(v3, [0, 1, 2], False)
    v7 = torch.log_softmax(v0, -1)
    return (v4, v5, v7,)
""",
    "an empty result in a kernel with others was written": """
# under torch.no_grad()
x0 = make_input([8, 8, 0], torch.float32, 'special', 'contiguous', 0)
x1 = make_input([8], torch.float32, 'special', 'contiguous', 1)
def program(x0, x1):
    v2 = torch.sum(x1, [0], True)
    v15 = torch.cosh(torch.tanh(v2))
    v18 = v15 * x0
    return (v15, v18,)
""",
    "an empty product with a normalised value was written": """
# under torch.no_grad()
x0 = make_input([9], torch.float64, 'normal', 'contiguous', 0)
x2 = make_input([0], torch.int64, 'normal', 'contiguous', 2)
def program(x0, x2):
    v1 = torch.roll(x2, 3, -1)
    v2 = (x0.square() + 0.1) ** 1.5
    v4 = torch.logsumexp(v2, [0], True)
    v5 = F.layer_norm(v4, [1])
    v9 = v4 * v1
    return (v5, v9,)
""",
    "an input's old value was copied after the input was overwritten": """
# under torch.no_grad()
x0 = make_input([5], torch.float32, 'normal', 'contiguous', 0)
x1 = make_input([16, 9], torch.int64, 'normal', 'contiguous', 1)
def program(x0, x1):
    v0 = x0.clone()
    v1 = torch.minimum(x1, x1)
    x0.zero_()
    x1.transpose(0, -1).add_(1)
    return (v0, v1,)
""",
    "inputs that swap values lost one": """
# under torch.no_grad()
x0 = make_input([3, 3], torch.float32, 'normal', 'contiguous', 0)
x1 = make_input([3, 3], torch.float32, 'normal', 'contiguous', 1)
x2 = make_input([3, 3], torch.float32, 'normal', 'transposed', 2)
def program(x0, x1, x2):
    v0 = x0.clone()
    x0.copy_(x1)
    x1.copy_(x2)
    x2.copy_(v0)
    v4 = x2.t() * 2
    return (v4, v0,)
""",
    "an infinite element made all averages of adaptive pooling NaN": """
# under torch.no_grad()
x1 = make_input([1, 8, 7, 1], torch.float32, 'special', 'contiguous', 1)
def program(x1):
    v2 = F.adaptive_avg_pool2d(x1, (2, 1))
    return (v2,)
""",
    "an index of max pooling with dilation lay outside of a window of nothing but -inf": """
# under torch.no_grad()
x0 = make_input([2, 7], torch.float32, 'normal', 'contiguous', 0)
def program(x0):
    v0 = torch.full_like(x0, -float('inf'))
    v1 = F.max_pool1d(v0, 3, 1, 1, 2, return_indices=True)[1]
    return (v1,)
""",
    "the mean loss of an empty batch was 0": """
# under torch.no_grad()
x0 = make_input([4, 0, 5], torch.float32, 'special', 'contiguous', 0)
def program(x0):
    v0 = F.binary_cross_entropy_with_logits(x0, torch.sigmoid(x0))
    return (v0,)
""",
    "bilinear summed over both inputs at once: infinities of one met zeros of the other": """
# under torch.no_grad()
x3 = make_input([7, 4, 4], torch.float32, 'special', 'contiguous', 3)
def program(x3):
    v0 = torch.slice_scatter(x3, x3.flatten()[:56].reshape([7, 2, 4]), 1, 1, None, 2)
    v2 = F.bilinear(v0, v0, v0.flatten()[:32].reshape([2, 4, 4]))
    return (v2,)
""",
    "a row of a checked index was loaded before the check, where a reduction used it": """
# under torch.no_grad()
x0 = make_input([4, 16, 16], torch.bfloat16, 'normal', 'contiguous', 0)
x2 = make_input([5, 1], torch.int64, 'normal', 'contiguous', 2)
x3 = make_input([16, 16], torch.bfloat16, 'normal', 'contiguous', 3)
x4 = make_input([], torch.bool, 'normal', 'contiguous', 4)
def program(x0, x2, x3, x4):
    v1 = x0[x2 % 4, x2 % 16]
    v3 = torch.gather(x3, 0, x2 % 16)
    v4 = torch.where(x4, v3, v1)
    v6 = v4.amax(1, True)
    return (v1, v6,)
""",
    "a product fused into a difference, so that the greatest one was not subtracted exactly": """
x3 = make_input([2, 2, 5], torch.float32, 'special', 'contiguous', 3).requires_grad_()
def program(x3):
    v2 = torch.deg2rad(x3)
    v6 = torch.softmax(v2, 1)
    v7 = torch.logsumexp(x3 * x3, [1], False)
    return (v6, v7,)
""",
    "the norm of one element overflowed": """
# under torch.no_grad()
x4 = make_input([4, 1, 17], torch.float32, 'special', 'contiguous', 4)
def program(x4):
    v0 = x4 * x4
    v3 = torch.linalg.vector_norm(v0, 3, -2)
    v4 = torch.linalg.vector_norm(v0, 2, -2, keepdim=True)
    return (v3, v4,)
""",
    "a variance overflowed in float32": """
# under torch.no_grad()
x4 = make_input([4, 5, 17], torch.float32, 'special', 'contiguous', 4)
def program(x4):
    v0 = x4 * x4
    v1 = torch.std(v0, 1)
    v2 = torch.var_mean(v0, 1)[0]
    return (v1, v2,)
""",
    "the gradient of a distance that is NaN was 0": """
x4 = make_input([33, 1, 17], torch.float32, 'special', 'contiguous', 4).requires_grad_()
def program(x4):
    v0 = torch.sort(x4, dim=-2, descending=False, stable=True)[0]
    v10 = torch.hstack([v0, x4.exp().clamp_max(1)])
    v12 = torch.cdist(v10, v10 + 3)
    return (v12,)
""",
    "erf of large values missed 1 by one place": """
# under torch.no_grad()
x0 = make_input([7, 17], torch.float32, 'special', 'contiguous', 2)
def program(x0):
    v0 = F.gelu(x0 * 1e6)
    return (v0,)
""",
    "the sum of no elements of a constant NaN was NaN": """
# under torch.no_grad()
x2 = make_input([0, 8, 8], torch.float32, 'special', 'contiguous', 2)
def program(x2):
    v1 = F.max_pool1d(x2, 3, 1, 1)
    v2 = v1.sum()
    return (v2,)
""",
    "a result was written over a concatenation of which the kernel also read a part": """
# under torch.no_grad()
x0 = make_input([8, 8, 8], torch.float32, 'normal', 'contiguous', 0)
x3 = make_input([8, 8, 8], torch.float32, 'normal', 'contiguous', 3)
x4 = make_input([8, 1, 1], torch.int64, 'normal', 'contiguous', 4)
def program(x0, x3, x4):
    v0 = F.conv1d(x0, x3.flatten()[:24].reshape([1, 8, 3]), None, 2, 0, 2)
    v6 = torch.bmm(v0, x3.flatten()[:80].reshape([8, 2, 5]))
    v9 = torch.hstack([v6, v6.exp().clamp_max(1)])
    v13 = v9 / (v6.square() + 0.5)
    v17 = v13[x4 % 8, x4 % 2]
    v23 = F.pad(v17, (1, 1), value=1.5)
    return (v23,)
""",
    "a block of dot products that ended inside of a vector was not written to its end": """
# under torch.no_grad()
x0 = make_input([33], torch.float32, 'normal', 'contiguous', 0)
x1 = make_input([64, 33, 33], torch.float32, 'normal', 'contiguous', 1)
def program(x0, x1):
    v0 = torch.matmul(x0, x1.mT)
    return (v0,)
""",
}


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_a_random_program_is_right(seed):
    result = check_seed(seed)
    text = result.program and cut_down(result.program).text()
    assert result.outcome not in BAD, f"seed {seed}: {result.detail}\n{text}"


@pytest.mark.parametrize("text", ONCE_WRONG.values(), ids=ONCE_WRONG)
def test_a_program_that_was_wrong_is_right(text):
    result = check(parse(text))
    assert result.outcome == "right", result.detail


@pytest.mark.parametrize(
    "text",
    [
        """
# under torch.no_grad()
x0 = make_input([17], torch.float64, 'normal', 'contiguous', 0)
def program(x0):
    v0 = (x0 * 1e15 + 0.3) / x0.cos()
    v1 = x0.to(torch.float32)
    v2 = torch.sin(v0)
    return (v2,)
""",
        """
x3 = make_input([3, 17], torch.float32, 'special', 'transposed', 3).requires_grad_()
def program(x3):
    v4 = x3.to(torch.float64, copy=True)
    v4.transpose(0, -1).mul_(3)
    v11 = torch.logcumsumexp(v4, 1)
    return (v11,)
""",
    ],
    ids=["sine of 1e15", "exponential of a rounded difference"],
)
def test_a_program_that_float64_is_too_coarse_for_is_not_wrong(text):
    assert check(parse(text)).outcome not in BAD


def test_results_are_the_same_bits_with_one_thread_and_with_two(monkeypatch):
    jobs = [{"seed": seed} for seed in (*range(12), *range(19, 300, 20))]
    digests = []
    for threads in "12":
        monkeypatch.setenv("COREGRAD_NUM_THREADS", threads)
        results = worker_pool.run(RUNNER, jobs, 1)
        digests.append({r["seed"]: r["digest"] for r in results})
        assert sum(bool(d) for d in digests[-1].values()) > len(jobs) // 2
    assert digests[0] == digests[1]


def test_a_seed_always_gives_the_same_program():
    for seed in range(20):
        program = generate(seed)
        assert program.text() == generate(seed).text()
        assert parse(program.text()) == program


def test_a_planted_fault_is_found_and_the_program_cut_down(monkeypatch):
    right = lowering.ROWS[torch.ops.aten.sin.default]
    monkeypatch.setitem(lowering.ROWS, torch.ops.aten.sin.default, lambda b, x: right(b, x) * 1.001)
    text = """
x0 = make_input([4, 5], torch.float32, 'normal', 'transposed', 0).requires_grad_()
x1 = make_input([4, 5], torch.float32, 'normal', 'contiguous', 1).requires_grad_()
def program(x0, x1):
    v0 = x0 + x1
    v1 = torch.sin(x1)
    v2 = torch.tanh(v0)
    v3 = v1 * 3
    return (v2, v3,)
"""
    result = check(parse(text))
    assert result.outcome == "wrong"
    assert "outputs[1] too far" in result.detail
    smaller = cut_down(result.program, lambda program: check_alone(program).outcome)
    assert smaller.lines == ["v1 = torch.sin(x1)", "v3 = v1 * 3"]
    assert (list(smaller.inputs), smaller.grad) == (["x1"], False)
    monkeypatch.undo()
    assert check(smaller).outcome == "right"
