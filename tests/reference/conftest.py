"""Modules of the reference system, and weights and sounds to compare on."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

REFERENCE = Path(__file__).parents[2] / "benchmarks" / "reference"


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """The package ``benchmarks/reference``, with SpeechBrain imported; skips if SpeechBrain is not installed."""
    if importlib.util.find_spec("speechbrain") is None:
        pytest.skip("speechbrain is not installed: pip install otoscope[parity]")
    if "benchmarks_reference" in sys.modules:  # the tests of another folder have imported it
        return sys.modules["benchmarks_reference"]
    spec = importlib.util.spec_from_file_location(
        "benchmarks_reference", REFERENCE / "__init__.py", submodule_search_locations=[str(REFERENCE)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.speechbrain_modules()
    return module


@pytest.fixture(scope="session")
def theirs(reference):
    """Modules of the reference system."""
    return reference.speechbrain_modules()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def scramble(generator) -> Callable[[nn.Module], nn.Module]:
    """Function that sets random weights which hide no mistake.

    There is no zero bias and no trivial norm, codes are far apart, and no layer shrinks its input so much that
    only biases count.
    """

    @torch.no_grad()
    def scrambled(module: nn.Module) -> nn.Module:
        for part in module.modules():
            if isinstance(part, nn.ConvTranspose2d):
                size, stride = part.kernel_size, part.stride
                terms = part.in_channels * size[0] * size[1] / (stride[0] * stride[1])  # summed per output
                part.weight.normal_(0, (2 / terms) ** 0.5, generator=generator)
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.3, generator=generator)
                part.running_var.uniform_(0.5, 1.5, generator=generator)
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(part, nn.Embedding):
                part.weight.normal_(generator=generator)
            elif getattr(part, "bias", None) is not None:
                part.bias.normal_(0, 0.1, generator=generator)
        return module

    return scrambled


@pytest.fixture
def waveforms(generator) -> Tensor:
    """Two clips of 5 s: a rising tone in noise, and noise that fades. Shape (2, 80000)."""
    time = torch.arange(80_000) / 16_000
    tone = torch.sin(2 * torch.pi * (200 + 300 * time) * time)
    noise = torch.randn(2, 80_000, generator=generator)
    return torch.stack([0.5 * tone + 0.05 * noise[0], 0.3 * noise[1] * (-time).exp()])


@pytest.fixture
def agree() -> Callable[[Tensor, Tensor], None]:
    """Function that checks that two tensors are equal within 1e-4, or relatively if large, and not constant."""

    def check(ours: Tensor, reference: Tensor) -> None:
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)
        if reference.numel() > 1:
            assert reference.std() > 1e-3, "agreement on a constant says nothing"

    return check
