"""Training of L2I."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from otoscope.classifiers import Classifier
from otoscope.interpreters import L2IInterpreter
from otoscope.loading import load_dictionary
from otoscope.nn import DecoderName, NMFDictionary
from otoscope.store.folder import find_model_folder
from otoscope.training.brain import InterpreterBrain


class L2I(InterpreterBrain):
    """Training of L2I, listen to interpret (arXiv 2202.11479).

    Args:
        classifier: Classifier, or its source; see `InterpreterBrain`.
        dictionary: NMF dictionary that was made with the classifier's front-end, or its source.
        decoder: ``light``, or ``published`` for published weights.
        relevance_threshold: Relevance above which a component is part of the mask; training does not depend on it.
        pooling_frames: Number of frames of every clip, for the published pooling (default: attention, for clips of
            any length).
        alpha: Weight of the reconstruction.
        beta: Weight of the l1 norm of the activations.
        temperature: Divisor of the classifier's logits, which the interpreter learns to imitate.
        decoder_width: Channels of the light decoder (default: 256).
        **training: See `InterpreterBrain`.
    """

    def __init__(
        self,
        classifier: str | Classifier | Path,
        dictionary: str | os.PathLike[str] | NMFDictionary,
        decoder: DecoderName = "light",
        relevance_threshold: float = 0.2,
        pooling_frames: int | None = None,
        alpha: float = 10.0,
        beta: float = 0.8,
        temperature: float = 1.0,
        decoder_width: int | None = None,
        **training: Any,
    ) -> None:
        interpreter = partial(
            L2IInterpreter,
            dictionary=_opened(dictionary),
            decoder=decoder,
            relevance_threshold=relevance_threshold,
            pooling_frames=pooling_frames,
            alpha=alpha,
            beta=beta,
            temperature=temperature,
            decoder_width=decoder_width,
        )
        super().__init__(classifier, interpreter, **training)


def _opened(dictionary: str | os.PathLike[str] | NMFDictionary) -> str | os.PathLike[str] | NMFDictionary:
    """Return the dictionary; a model folder stays a path, which L2I opens and names in its errors."""
    if isinstance(dictionary, NMFDictionary) or find_model_folder(Path(dictionary)) is not None:
        return dictionary
    return load_dictionary(dictionary)
