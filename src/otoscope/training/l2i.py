"""Training of L2I."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from otoscope.candidates import choose
from otoscope.interpreters import L2IInterpreter
from otoscope.loading import load_dictionary
from otoscope.nn import DecoderName, NMFDictionary
from otoscope.store.folder import find_model_folder
from otoscope.training.brain import ClassifierSource, InterpreterBrain


class L2I(InterpreterBrain):
    """Training of L2I, listen to interpret (arXiv 2202.11479).

    Args:
        classifier: Classifier, or its source; see `InterpreterBrain`.
        dictionary: NMF dictionary that was made with the classifier's front-end, or its source, or several sources
            of which the first that exists is taken.
        decoder: ``light``, or ``published`` for published weights.
        relevance_threshold: Relevance above which a component is part of the mask; training does not depend on it.
        pooling_frames: Number of frames of every clip, for the published pooling (default: attention, for clips of
            any length).
        alpha: Weight of the reconstruction.
        beta: Weight of the l1 norm of the activations.
        temperature: Divisor of the classifier's logits, which the interpreter learns to imitate (default: 1, or
            0.01 as published where the logits are cosines, whose probabilities are almost flat).
        decoder_width: Channels of the light decoder (default: 256).
        **training: See `InterpreterBrain`.
    """

    def __init__(
        self,
        classifier: ClassifierSource,
        dictionary: list[str] | str | os.PathLike[str] | NMFDictionary,
        decoder: DecoderName = "light",
        relevance_threshold: float = 0.2,
        pooling_frames: int | None = None,
        alpha: float = 10.0,
        beta: float = 0.8,
        temperature: float | None = None,
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


def _opened(
    dictionary: list[str] | str | os.PathLike[str] | NMFDictionary,
) -> str | os.PathLike[str] | NMFDictionary:
    """Return the dictionary; a model folder stays a path, which L2I opens and names in its errors."""
    if isinstance(dictionary, NMFDictionary):
        return dictionary
    choice = choose(dictionary)
    if find_model_folder(Path(choice.source)) is None:
        return load_dictionary(dictionary)
    if choice.listed:
        print(choice.report("dictionary", Path(choice.source)), flush=True)
    return choice.source
