"""The published methods as trainings: each names its interpreter and its published schedule."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from otoscope.classifiers import Classifier
from otoscope.interpreters import L2IInterpreter, PIQInterpreter
from otoscope.loading import load_dictionary
from otoscope.nn import CodebookInit, DecoderName, NMFDictionary
from otoscope.store.folder import find_model_folder
from otoscope.training.brain import InterpreterBrain


class PIQ(InterpreterBrain):
    """Trains PIQ, posthoc interpretation via quantisation (arXiv 2303.12659).

    The best checkpoint is the one with the lowest reconstruction loss on the validation clips.

    Args:
        classifier: A classifier's model folder, or the classifier itself.
        use_vq: Quantise the representation with codes of the predicted class before decoding.
        use_mask_output: Decode a mask; False: decode an activation that is thresholded.
        decoder: ``light``, or ``published`` for published weights.
        codes: Size of the codebook.
        shared_codes: Codes of it that every class may use.
        codebook_init: ``data``: codes start as vectors of the first training batch; ``uniform``: as published.
        mask_threshold: Share of a clip's maximum above which a bin counts as present.
        **training: See `InterpreterBrain`.
    """

    # the codebook's terms grow with the representation, whatever becomes of the masks
    monitor = "valid_reconstruction"

    def __init__(
        self,
        classifier: str | Classifier | Path,
        use_vq: bool = True,
        use_mask_output: bool = True,
        decoder: DecoderName = "light",
        codes: int = 1024,
        shared_codes: int = 0,
        codebook_init: CodebookInit = "data",
        mask_threshold: float = 0.35,
        **training: Any,
    ) -> None:
        interpreter = partial(
            PIQInterpreter,
            use_vq=use_vq,
            use_mask_output=use_mask_output,
            decoder=decoder,
            codes=codes,
            shared_codes=shared_codes,
            codebook_init=codebook_init,
            mask_threshold=mask_threshold,
        )
        super().__init__(classifier, interpreter, **training)


class L2I(InterpreterBrain):
    """Trains L2I, listen to interpret (arXiv 2202.11479).

    Args:
        classifier: A classifier's model folder, or the classifier itself.
        dictionary: The NMF dictionary itself, of the classifier's front-end, or where it comes from, as with
            ``classifier``.
        decoder: ``light``, or ``published`` for published weights.
        relevance_threshold: Components whose relevance is above it make the mask; nothing is trained with it.
        pooling_frames: None: attention over clips of any length; a number: the published pooling, for clips of so
            many frames.
        alpha: Weight of the reconstruction.
        beta: Weight of the l1 norm of the activations.
        temperature: Divides the classifier's logits before they are imitated.
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
        )
        super().__init__(classifier, interpreter, **training)


def _opened(dictionary: str | os.PathLike[str] | NMFDictionary) -> str | os.PathLike[str] | NMFDictionary:
    """The dictionary itself, unless it is a model folder, which L2I opens, and names where it does not fit."""
    if isinstance(dictionary, NMFDictionary) or find_model_folder(Path(dictionary)) is not None:
        return dictionary
    return load_dictionary(dictionary)
