"""Perceptrons, recommenders, and towers that share weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subject import Subject, classify, model


@model
def mlp() -> Subject:
    """Linear layers with several activations."""
    net = nn.Sequential(
        *(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.GELU()),
        *(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 5)),
    )
    return Subject(net, (torch.randn(6, 16),), classify(5, 6))


@model
def batch_norm_mlp() -> Subject:
    """Batch norm of vectors, with running statistics, and less common activations."""
    net = nn.Sequential(
        *(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.SELU(), nn.Linear(24, 24, bias=False)),
        *(nn.BatchNorm1d(24, momentum=0.3), nn.Softplus(), nn.Linear(24, 3), nn.LogSoftmax(1)),
    )
    labels = torch.randint(0, 3, (10,))
    return Subject(net, (torch.randn(10, 12),), lambda out: F.nll_loss(out, labels))


class _Recommender(nn.Module):
    """Sums of embeddings, a dense part, and products of all pairs of features."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 8) for n in (20, 30, 11))
        self.dense = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8))
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("pairs", torch.tril_indices(4, 4, -1), persistent=False)

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        dense = self.dense(numbers)
        sparse = [table(ids[:, i]).sum(1) for i, table in enumerate(self.tables)]
        features = torch.stack([dense, *sparse], 1)
        products = torch.bmm(features, features.transpose(1, 2))
        crossed = products[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([dense, crossed], 1)).squeeze(1)


@model
def recommender() -> Subject:
    """Embeddings, pairwise products, binary cross entropy."""
    clicks = torch.randint(0, 2, (7,))
    return Subject(
        _Recommender(),
        (torch.randn(7, 5), torch.randint(0, 11, (7, 3, 4))),
        lambda out: F.binary_cross_entropy_with_logits(out, clicks.to(out.dtype)),
    )


class _BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(40, 12, mode="mean")
        self.output = nn.Linear(12, 4)

    def forward(self, words: Tensor, offsets: Tensor) -> Tensor:
        return self.output(self.bag(words, offsets))


@model
def embedding_bag() -> Subject:
    """nn.EmbeddingBag over bags of different sizes, one of them empty."""
    offsets = torch.tensor([0, 3, 3, 9])
    return Subject(_BagOfWords(), (torch.randint(0, 40, (14,)), offsets), classify(4, 4))


class _Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 20), nn.LeakyReLU(), nn.Linear(20, 8))

    def forward(self, anchor: Tensor, same: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        a, s, o = (F.normalize(self.net(x), dim=1) for x in (anchor, same, other))
        return F.triplet_margin_loss(a, s, o, margin=0.5), F.cosine_similarity(a, o)


@model
def siamese() -> Subject:
    """One tower three times, triplet loss, and a second output."""
    inputs = tuple(torch.randn(5, 10) for _ in range(3))
    return Subject(_Siamese(), inputs, lambda out: out[0] + out[1].square().mean())
