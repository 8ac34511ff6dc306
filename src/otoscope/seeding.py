"""Random generators that depend on named values alone, such as a seed and the name of a clip."""

import hashlib

import torch


def generator_for(*parts: object) -> torch.Generator:
    """Return a random generator that depends on these values alone, such as a seed and the name of a clip."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
