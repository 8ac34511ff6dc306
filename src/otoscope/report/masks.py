"""Share of the energy that belongs to the evidence, for results that hold no mask."""

from __future__ import annotations

import numpy as np
import torch

from otoscope.audio import Frontend


def energy_share(evidence: np.ndarray, remainder: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return the share of the energy of each bin that belongs to the evidence.

    Args:
        evidence: Sound of the evidence. Shape (samples,).
        remainder: Sound of the remainder. Same shape.
        sample_rate_hz: Sample rate.

    Returns:
        Shares in [0, 1], 0 where both are silent. Shape (frequency, time).

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
        >>> share = energy_share(0.1 * noise, 0.1 * noise, 16_000)
        >>> share.shape[0], round(float(share.mean()), 2)
        (513, 0.5)
    """
    frontend = Frontend(sample_rate_hz)
    # A common scale of about 1: the front-end's floor is absolute.
    peak = max(float(np.abs(evidence).max(initial=0)), float(np.abs(remainder).max(initial=0)), 1e-9)
    powers = [
        torch.expm1(frontend(torch.from_numpy(np.float32(sound / peak))[None]).log_magnitude[0]).square().numpy()
        for sound in (evidence, remainder)
    ]
    total = powers[0] + powers[1]
    return np.asarray(np.divide(powers[0], total, out=np.zeros_like(total), where=total > 1e-6))
