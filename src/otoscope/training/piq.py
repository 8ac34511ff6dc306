"""Training of PIQ."""

from __future__ import annotations

from functools import partial
from typing import Any

from otoscope.interpreters import PIQInterpreter
from otoscope.nn import CodebookInit, DecoderName
from otoscope.training.brain import ClassifierSource, InterpreterBrain


class PIQ(InterpreterBrain):
    """Training of PIQ, posthoc interpretation via quantisation (arXiv 2303.12659).

    The best checkpoint is the one with the lowest reconstruction loss on the validation clips.

    Args:
        classifier: Classifier, or its source; see `InterpreterBrain`.
        use_vq: Whether to quantise the representation with codes of the predicted class before decoding.
        use_mask_output: Whether the decoder makes a mask; otherwise it makes an activation that is thresholded.
        decoder: ``light``, or ``published`` for published weights.
        codes: Number of codes in the codebook.
        shared_codes: Number of codes that every class may use.
        codebook_init: Start of the codebook: vectors of the first training batch (``data``), or random vectors as
            published (``uniform``).
        mask_threshold: Share of a clip's maximum above which a bin counts as present.
        code_stride: Columns and rows that one code stands for: 2, as published, or 1, which is finer.
        **training: See `InterpreterBrain`.
    """

    # not the whole loss: the terms of the codebook may grow even while the masks improve
    monitor = "valid_reconstruction"

    def __init__(
        self,
        classifier: ClassifierSource,
        use_vq: bool = True,
        use_mask_output: bool = True,
        decoder: DecoderName = "light",
        codes: int = 1024,
        shared_codes: int = 0,
        codebook_init: CodebookInit = "data",
        mask_threshold: float = 0.35,
        code_stride: int = 2,
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
            code_stride=code_stride,
        )
        super().__init__(classifier, interpreter, **training)
