"""Small models of many kinds, as plain modules: what `python -m coregrad.torch.parity` runs.

`MODELS` is the table. A row makes a fresh `Subject`: a model, its inputs and the loss of its output.
Sizes are small, so that compiling takes the time; no model draws random numbers when it runs, because
those of two engines differ.
"""

from . import images, sequences, tables, transformers
from .subject import MODELS, Subject

__all__ = ["MODELS", "Subject", "images", "sequences", "tables", "transformers"]
