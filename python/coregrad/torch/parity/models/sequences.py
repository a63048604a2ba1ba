"""Convolutional and recurrent networks for sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subject import Subject, classify, model, resemble


@model
def audio_net() -> Subject:
    """Strided convolutions over a waveform."""
    net = nn.Sequential(
        *(nn.Conv1d(1, 8, 9, 4, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(8, 12, 3, padding=2, dilation=2), nn.ReLU(), nn.AdaptiveAvgPool1d(4)),
        *(nn.Flatten(), nn.Linear(48, 6)),
    )
    return Subject(net, (torch.randn(3, 1, 128),), classify(6, 3))


class _Causal(nn.Module):
    """Dilated causal convolutions with normalised weights and a gate."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.layers = nn.ModuleList(norm(nn.Conv1d(6, 12, 2, dilation=2**i)) for i in range(3))
        self.output = nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            signal, gate = layer(F.pad(x, (2**i, 0))).chunk(2, 1)
            x = x + torch.tanh(signal) * torch.sigmoid(gate)
        return self.output(x)


@model
def temporal_conv() -> Subject:
    """WaveNet's blocks."""
    return Subject(_Causal(), (torch.randn(2, 6, 20),), resemble(2, 2, 20))


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.net = kind(6, 10, num_layers=2, batch_first=True)
        self.output = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.net(x)[0][:, -1])


@model
def lstm() -> Subject:
    """nn.LSTM of two layers."""
    return Subject(_Recurrent(nn.LSTM), (torch.randn(3, 7, 6),), classify(4, 3))


@model
def gru() -> Subject:
    """nn.GRU of two layers."""
    return Subject(_Recurrent(nn.GRU), (torch.randn(3, 7, 6),), classify(4, 3))


class _UnrolledLstm(nn.Module):
    """An LSTM as the equations say, unrolled while it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(5, 32), nn.Linear(8, 32, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = x.new_zeros(x.shape[0], 8)
        states = []
        for step in x.unbind(1):
            i, f, g, o = (self.input(step) + self.state(hidden)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, 1)


@model
def unrolled_lstm() -> Subject:
    """A recurrence written out over four steps."""
    return Subject(_UnrolledLstm(), (torch.randn(3, 4, 5),), resemble(3, 4, 8))
