"""Parity with PyTorch: `python -m coregrad.torch.parity`."""
