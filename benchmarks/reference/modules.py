"""The packages that serve as oracles, imported without side effects on the process."""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import torch

_STUBS = ("torchaudio", "torchaudio.transforms", "torchaudio.functional", "torchaudio.datasets")
_QUIRKS = "disable_jit_profiling,allow_tf32"  # settings that SpeechBrain would change in the whole process


@functools.cache
def speechbrain_modules() -> types.SimpleNamespace:
    """Return the parts of SpeechBrain that we use, imported without torchaudio and without side effects."""
    with _quiet_import():
        from speechbrain.lobes.models import L2I, PIQ, Cnn14
        from speechbrain.lobes.models.ECAPA_TDNN import Classifier
        from speechbrain.processing.features import ISTFT, STFT, Filterbank, spectral_magnitude
        from speechbrain.processing.NMF import spectral_phase
        from speechbrain.utils.importutils import LazyModule
    # Code that iterates over sys.modules, such as hypothesis, would make these import their modules and fail.
    for name in [name for name, module in sys.modules.items() if isinstance(module, LazyModule)]:
        del sys.modules[name]
    return types.SimpleNamespace(
        STFT=STFT,
        ISTFT=ISTFT,
        Filterbank=Filterbank,
        spectral_magnitude=spectral_magnitude,
        spectral_phase=spectral_phase,
        Conv2dEncoder=PIQ.Conv2dEncoder_v2,
        CosineClassifier=Classifier,
        Cnn14=Cnn14.Cnn14,
        Cnn14Block=Cnn14.ConvBlock,
        Cnn14Mask=Cnn14.CNN14PSI_stft,
        VectorQuantizedPSI=PIQ.VectorQuantizedPSI_Audio,
        VectorQuantizedPSIFocalNet=PIQ.VectorQuantizedPSIFocalNet_Audio,
        VectorQuantizedPSIViT=PIQ.VectorQuantizedPSIViT_Audio,
        VQEmbedding=PIQ.VQEmbedding,
        get_irrelevant_regions=PIQ.get_irrelevant_regions,
        PsiOptimized=L2I.PsiOptimized,
        Cnn14Psi=L2I.CNN14PSI_stft_2d,
        Theta=L2I.Theta,
        NMFDecoder=L2I.NMFDecoderAudio,
        NMFEncoder=L2I.NMFEncoder,
    )


@functools.cache
def quantus() -> Any:
    """Return the Quantus package, whose scores the recipes report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus as package
    return package


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    absent = () if importlib.util.find_spec("torchaudio") else _STUBS
    for name in absent:
        stub = types.ModuleType(name)
        stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
        stub.__dict__["__version__"] = torch.__version__
        sys.modules[name] = stub
    before = os.environ.get("SB_DISABLE_QUIRKS")
    os.environ["SB_DISABLE_QUIRKS"] = _QUIRKS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        del os.environ["SB_DISABLE_QUIRKS"]
        if before is not None:
            os.environ["SB_DISABLE_QUIRKS"] = before
        for name in absent:
            del sys.modules[name]
