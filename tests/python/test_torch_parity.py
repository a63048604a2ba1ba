"""`python -m coregrad.torch.parity`: the built-in models are right, and planted faults are found."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from coregrad.torch import lowering
from coregrad.torch.parity.__main__ import main
from coregrad.torch.parity.examination import Settings, examine
from coregrad.torch.parity.judge import measure
from coregrad.torch.parity.models import MODELS, Subject

aten = torch.ops.aten


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_as_exact_as_eager(name):
    result = examine(name, MODELS[name], Settings())
    assert not result.failed, result.detail
    assert result.verdict == "native", result.detail
    assert result.measures


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mlp", "resnet_inference", "transformer", "conv_autoencoder"])
def test_inference_is_as_exact_as_eager(name, dtype):
    result = examine(name, MODELS[name], Settings(dtype=dtype, grad=False))
    assert result.verdict == "native", result.detail
    assert not any("gradient" in what or "steps" in what for what in result.measures)


class Waves(nn.Module):
    """Two kinds of operations, so that a search has something to choose from."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.sin(self.first(x)) * 2 + 1
        return torch.tanh(self.second(x)).exp().sum(1)


def waves():
    return Subject(Waves(), (torch.randn(5, 6),))


def plant(monkeypatch, overload, spoil):
    """Replaces a row of the lowering table by one whose result `spoil` changes."""
    right = lowering.ROWS[overload]

    def wrong(b, *args, **kwargs):
        return spoil(b, right(b, *args, **kwargs), *args)

    monkeypatch.setitem(lowering.ROWS, overload, wrong)


def a_bit_more(b, result, *_):
    return b.g.add(result, b.g.literal(result.dtype, 0.01))


def outcome_of(script):
    """The exit code of a script, run in this process, where the fault is."""
    with pytest.raises(SystemExit) as exit:
        exec(compile(script, "script.py", "exec"), {"__name__": "__main__"})
    return exit.value.code


def test_a_wrong_lowering_is_named_and_its_script_reproduces_it():
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, aten.tanh.default, a_bit_more)
        result = examine("waves", waves, Settings())
        assert result.verdict == "wrong"
        found = result.divergence
        assert (found.operator, found.alone, found.graph) == ("aten.tanh.default", True, "forward")
        assert "torch.tanh(self.second(x))" in found.source
        assert found.num_operations == 1
        assert "too far from the exact value" in found.message
        assert outcome_of(found.script) == 1
    assert outcome_of(found.script) == 0
    assert examine("waves", waves, Settings()).verdict == "native"


def test_a_wrong_gradient_is_found_in_the_backward_graph():
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, aten.cos.default, lambda b, result, *_: b.g.neg(result))
        result = examine("waves", waves, Settings())
    assert result.verdict == "wrong"
    assert (result.divergence.operator, result.divergence.graph) == ("aten.cos.default", "backward")


def test_a_fault_that_shows_only_in_company_is_named_and_cut_down():
    with pytest.MonkeyPatch.context() as patch:
        company = []
        right = lowering.ROWS[aten.mul.Tensor]

        def mul(b, *args, **kwargs):
            company.append(right(b, *args, **kwargs))
            return company[-1]

        patch.setitem(lowering.ROWS, aten.mul.Tensor, mul)
        plant(
            patch,
            aten.add.Tensor,
            lambda b, result, x, *_: a_bit_more(b, result) if x in company else result,
        )
        result = examine("waves", waves, Settings())
        assert result.verdict == "wrong"
        found = result.divergence
        assert (found.operator, found.alone) == ("aten.add.Tensor", False)
        assert found.num_operations == 2
        assert "together with aten.mul.Tensor" in found.place
        assert outcome_of(found.script) == 1


def test_the_command_fails_and_writes_what_reproduces_the_fault(tmp_path, capsys):
    arguments = ["--model", "mlp", "cnn", "--scripts", str(tmp_path / "scripts")]
    page = tmp_path / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, aten.gelu.default, a_bit_more)
        assert main([*arguments, "--html", str(page)]) == 1
    text = capsys.readouterr().out
    assert "first diverging operation: aten.gelu.default (gelu of the forward graph)" in text
    assert "2 models: wrong 1, native 1" in text
    assert [p.name for p in (tmp_path / "scripts").iterdir()] == ["mlp_float32.py"]
    assert "aten.gelu.default" in page.read_text()
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["failures"] == 0
    assert [m["name"] for m in facts["models"]] == ["mlp", "cnn"]


def test_the_command_reports_what_is_left_to_pytorch(tmp_path, capsys):
    file = tmp_path / "airy.py"
    file.write_text(
        "import torch\n"
        "def make():\n"
        "    return lambda x: torch.special.airy_ai(x.detach()) + x, (torch.randn(4, 3),)\n"
    )
    command = ["--module", f"{file}:make", "--steps", "0"]
    assert main(command) == 0
    assert "aten.special_airy_ai.default x1: no lowering [airy.make]" in capsys.readouterr().out
    assert main([*command, "--strict"]) == 1


def test_the_command_takes_models_from_files(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "def make():\n"
        "    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))\n"
        "    return model, (torch.randn(4, 3),)\n"
    )
    command = [sys.executable, "-m", "coregrad.torch.parity", "--module", f"{file}:make"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "mine.make" in run.stdout
    assert "dropout of 1 modules switched off" in run.stdout
    assert "\r" not in run.stderr  # no bar where there is no terminal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing"], "no model 'nothing'"),
        (["--module", "missing.py:make"], "the file must exist"),
        (["--module", f"{__file__}:nothing"], "has no function 'nothing'"),
    ],
)
def test_bad_arguments_exit_with_2_and_a_reason(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


class Kink(nn.Module):
    """A gradient of 0 or 1 by the last place of tanh: eager's is 0, and so is that of float64."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.linspace(0.1, 1, 100))
        values = self.x.detach().tanh()
        above = values.double() > self.x.detach().double().tanh()
        self.register_buffer("threshold", torch.where(above, values, 2.0))

    def forward(self, scale):
        return (self.x.tanh() * scale - self.threshold).relu()


@pytest.mark.parametrize("of_float64", [False, True])
def test_a_gradient_that_rounding_decides_is_right_unless_float64_is_wrong_too(of_float64):
    def last_place_up(b, result, *_):
        if result.dtype != b.core_float32 and not of_float64:
            return result
        return b.g.mul(result, b.g.literal(result.dtype, 1 + 2.0**-22))

    with pytest.MonkeyPatch.context() as patch:
        plant(patch, aten.tanh.default, last_place_up)
        make = lambda: Subject(Kink(), (torch.ones(()),), None)  # noqa: E731
        result = examine("kink", make, Settings(steps=0, find_operation=False))
    if of_float64:
        assert result.verdict == "wrong"
    else:
        assert result.verdict == "native", result.detail
        assert any("ill-conditioned" in note for note in result.notes)


def test_a_model_that_draws_random_numbers_is_judged_by_shapes():
    result = examine(
        "noise", lambda: Subject(lambda x: x + torch.rand_like(x), (torch.ones(3),)), Settings()
    )
    assert result.verdict == "random"


def test_what_a_model_raises_is_reported():
    def refuse(x):
        raise RuntimeError("no")

    result = examine("refuse", lambda: Subject(refuse, (torch.ones(3),)), Settings())
    assert (result.verdict, result.detail) == ("error", "RuntimeError: no")


class Checkpointed(nn.Module):
    """As wav2vec2 does, it sets requires_grad of what it makes of its input; its weight is
    parametrized.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 3, 4), dim=2)

    def forward(self, x):
        x = x[:, None]
        x.requires_grad = True
        return torch.tanh(self.conv(x))


def test_a_model_that_refuses_inputs_with_gradients_is_judged_without_them():
    result = examine("waves", lambda: Subject(Checkpointed(), (torch.randn(2, 9),)), Settings())
    assert not result.failed, result.detail
    assert "no gradients of the inputs: you can only change requires_grad flags" in result.notes[0]
    assert "gradient of conv.parametrizations.weight.original0" in result.measures
    assert "gradient of input 0" not in result.measures


def test_the_judge_measures_by_twice_eagers_error_and_the_slack():
    exact = torch.tensor([1.0, 2.0], dtype=torch.float64)
    eager = torch.tensor([1.0, 2.5])
    right = measure(torch.tensor([1.9, 2.0]), eager, exact, (0.0, 0.0))
    assert right.wrong is None
    assert right.share == pytest.approx(0.9)
    wrong = measure(torch.tensor([2.1, 2.0]), eager, exact, (0.0, 0.0))
    assert "too far" in wrong.wrong
    assert wrong.share == pytest.approx(1.1)
    assert "NaN" in measure(torch.tensor([float("nan"), 2.0]), eager, exact).wrong
    assert "differs" in measure(torch.tensor([1]), torch.tensor([2])).wrong
    assert "gave torch.int64[1]" in measure(torch.tensor([1]), torch.tensor([2.0])).wrong
