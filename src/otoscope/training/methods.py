"""The published methods as trainings: each names its interpreter and its published schedule."""

from __future__ import annotations

import os
from functools import partial

from otoscope.classifiers import Classifier
from otoscope.interpreters import PIQInterpreter
from otoscope.nn import CodebookInit, DecoderName
from otoscope.training.brain import InterpreterBrain
from otoscope.training.task import OptimizerName, Schedule


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
        cache_representations: Compute what the classifier says of a clip once and keep it on disk.
        cache_folder: Where representations are kept; by default the user's cache folder.
        learning_rate: Of the optimiser.
        weight_decay: Of the optimiser.
        optimizer: ``adam`` or ``adamw``.
        schedule: Of the learning rate.
        plateau_patience: Epochs without improvement before halving the rate.
        plateau_from_epoch: No halving before.
        seed: Of everything random while training.
    """

    # the codebook's terms grow with the representation, whatever becomes of the masks
    monitor = "valid_reconstruction"

    def __init__(
        self,
        classifier: str | os.PathLike[str] | Classifier,
        use_vq: bool = True,
        use_mask_output: bool = True,
        decoder: DecoderName = "light",
        codes: int = 1024,
        shared_codes: int = 0,
        codebook_init: CodebookInit = "data",
        mask_threshold: float = 0.35,
        cache_representations: bool = False,
        cache_folder: str | os.PathLike[str] | None = None,
        learning_rate: float = 2e-4,
        weight_decay: float = 2e-6,
        optimizer: OptimizerName = "adam",
        schedule: Schedule = "plateau",
        plateau_patience: int = 3,
        plateau_from_epoch: int = 100,
        seed: int = 1234,
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
        super().__init__(
            classifier,
            interpreter,
            cache_representations,
            cache_folder,
            learning_rate,
            weight_decay,
            optimizer,
            schedule,
            plateau_patience,
            plateau_from_epoch,
            seed,
        )
