"""Matrix products at the full speed of the processor.

PyTorch computes float32 products on a CPU with MKL, which does not use AVX-512 on AMD's processors and so reaches
less than half of their peak. Convolutions go through oneDNN, which does. So a product is written here as a
convolution with a kernel of 1 x 1, where that gains. Measured on one core of a Zen 5, in GFLOP/s, products of 400
rows by layers of 768 to 3072 outputs: 107 by MKL, 204 to 241 as convolutions.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

_FEWEST_ROWS = 16
"""Rows from which reordering the second factor, which oneDNN does in each call, is made up for."""
_DILATION = 2
"""Dilation changes nothing for a kernel of one tap, but without it PyTorch may leave such a kernel to MKL."""
_SMALLEST_INPUT = 20480
"""Numbers up to which PyTorch does not hand a single picture to oneDNN."""
_MOST_TERMS = 256
"""Terms that one convolution adds up.

oneDNN adds them one after the other, so that rounding grows with their number: 3072 terms in one convolution had
2.2 times the error of MKL, which adds up partial sums. In parts of 256 it is equal to within a fifth, for 4 to 13 %
of the time.
"""
_LEAST_WEIGHTS = 1 << 16
"""Weights of a layer above which it is computed as a convolution.

Smaller layers keep PyTorch's rounding to the last bit, which a deep network enlarges, and would gain little.
"""


def product(first: Tensor, second: Tensor) -> Tensor:
    """Return ``first @ second``, two matrices, as a contiguous matrix.

    It is fastest if `first` is contiguous and the larger one.

    Args:
        first: Left factor, shape (m, k).
        second: Right factor, shape (k, n); contiguous, or the transpose of a contiguous matrix.

    Returns:
        Shape (m, n).

    Example:
        >>> product(torch.ones(2, 3), torch.ones(3, 4)).shape
        torch.Size([2, 4])
    """
    if not _gains(first, second):
        return first @ second
    if second.t().is_contiguous():
        return _convolved(first, second.t(), None)
    # a transposed convolution takes its weight the other way round
    weight = second.contiguous()[:, :, None, None]
    sums = (
        F.conv_transpose2d(_picture(first[:, some]), weight[some], dilation=_DILATION)
        for some in _parts(len(second))
    )
    return _total(sums)[0, :, 0].t()


class Linear(nn.Linear):
    """`nn.Linear`, computed as a convolution where that is faster.

    Example:
        >>> Linear(4, 8)(torch.rand(2, 3, 4)).shape
        torch.Size([2, 3, 8])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        rows = input.flatten(0, -2) if input.dim() > 1 else input
        large = self.weight.numel() > _LEAST_WEIGHTS
        if not large or rows.dim() != 2 or not _gains(rows, self.weight):
            return super().forward(input)
        return _convolved(rows, self.weight, self.bias).view(*input.shape[:-1], -1)


class PointwiseConvolution2d(nn.Conv2d):
    """`nn.Conv2d` with a kernel of 1 x 1, which PyTorch computes with MKL where it has one thread.

    Example:
        >>> PointwiseConvolution2d(4, 8, 1)(torch.rand(1, 4, 5, 6)).shape
        torch.Size([1, 8, 5, 6])
    """

    @override
    def forward(self, input: Tensor) -> Tensor:
        plain = (self.kernel_size, self.stride, self.padding, self.groups) == ((1, 1), (1, 1), (0, 0), 1)
        large = self.weight.numel() > _LEAST_WEIGHTS
        if large and plain and input.dim() == 4 and _suits(input, self.weight):
            return _in_parts(input, self.weight, self.bias)
        return super().forward(input)


_FAST: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: Linear, nn.Conv2d: PointwiseConvolution2d}


def use_fast_products(network: nn.Module) -> None:
    """Let layers `nn.Linear` and `nn.Conv2d` of a network compute as those of this file. Parameters and hooks stay.

    Args:
        network: Network to change in place.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> use_fast_products(network)
        >>> type(network[0]) is Linear
        True
    """
    for layer in network.modules():
        # subclasses are left alone, as they may compute something else
        layer.__class__ = _FAST.get(type(layer), type(layer))


@cache
def convolutions_are_faster() -> bool:
    """Return whether oneDNN multiplies faster than MKL on this machine: AVX-512 on a processor of AMD."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):  # type: ignore[no-untyped-call]
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    # The maker decides, not a measurement: the same layer shall give the same numbers in every process.
    facts = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (facts.read_text() if facts.exists() else platform.processor())


def _gains(rows: Tensor, columns: Tensor) -> bool:
    return len(rows) >= _FEWEST_ROWS and columns.numel() > 0 and _suits(rows, columns)


def _suits(input: Tensor, weight: Tensor) -> bool:
    if not convolutions_are_faster() or not torch.backends.mkldnn.enabled:
        return False
    if not input.dtype == weight.dtype == torch.float32 or input.device.type != "cpu":
        return False
    return input.numel() > _SMALLEST_INPUT and not torch.is_autocast_enabled("cpu")


def _convolved(rows: Tensor, columns: Tensor, bias: Tensor | None) -> Tensor:
    kernels = columns[:, None, None].permute(0, 3, 1, 2)
    return _in_parts(_picture(rows), kernels, bias)[0, :, 0].t()


def _in_parts(pictures: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with kernels of one tap, some of the channels at a time."""
    sums = (
        F.conv2d(pictures[:, some], kernels[:, some], None if some.start else bias, dilation=_DILATION)
        for some in _parts(kernels.shape[1])
    )
    return _total(sums)


def _parts(terms: int) -> list[slice]:
    return [slice(first, first + _MOST_TERMS) for first in range(0, terms, _MOST_TERMS)]


def _total(sums: Iterator[Tensor]) -> Tensor:
    total = next(sums)
    for some in sums:
        total += some
    return total


def _picture(rows: Tensor) -> Tensor:
    """Return a picture of one line of pixels, whose channels are contiguous in memory, as `rows` are."""
    return rows.contiguous()[None, None].permute(0, 3, 1, 2)
