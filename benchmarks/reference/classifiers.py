"""The classifiers that the recipes explain, in evaluation mode but not frozen."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.classifiers import Classifier

from .modules import speechbrain_modules
from .names import CNN14_HEAD_NAMES, CNN14_NAMES, ENCODER_NAMES, HEAD_NAMES, renamed

_CNN14_WIDTH = 64


class ReferenceClassifier(nn.Module, ABC):
    """Embedding model with its head.

    The recipes set it to evaluation mode but do not freeze it: the backward pass computes gradients of its weights,
    which are not trained. It takes the network's input, shape (batch, time, bins), and returns the representations
    and the logits.

    Args:
        encoder: Embedding model.
        head: Network from embeddings to logits.
        mel: Filter bank, for networks on mel spectrograms.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, mel: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.mel = mel
        self.eval()

    @abstractmethod
    def load(self, classifier: Classifier) -> None:
        """Copy the weights of our classifier."""

    def network_input(self, magnitude: Tensor, log_magnitude: Tensor) -> Tensor:
        """Return the input of the network for a spectrogram of shape (batch, time, frequency)."""
        return log_magnitude if self.mel is None else torch.log1p(self.mel(magnitude))


class ReferenceConv2d(ReferenceClassifier):
    """The Conv2d classifier with its cosine head.

    Args:
        classes: Number of classes.
        width: Number of channels.
    """

    def __init__(self, classes: int, width: int = 256) -> None:
        modules = speechbrain_modules()
        head = modules.CosineClassifier(input_size=width, lin_blocks=1, out_neurons=classes)
        super().__init__(modules.Conv2dEncoder(dim=width), head)

    @override
    def load(self, classifier: Classifier) -> None:
        # The scale of our head has no counterpart, so it must be 1.
        state = classifier.state_dict()
        self.encoder.load_state_dict(renamed(state, ENCODER_NAMES))
        self.head.load_state_dict(renamed(state, HEAD_NAMES))

    def forward(self, network_input: Tensor) -> tuple[Tensor, Tensor]:
        """Return the representation and the logits."""
        hidden: Tensor = self.encoder(network_input)
        return hidden, self.head(hidden.mean((-1, -2))).squeeze(1)


class ReferenceCnn14(ReferenceClassifier):
    """CNN14 on a mel spectrogram with a linear head.

    Args:
        classes: Number of classes.
        width: Number of channels of the first block. SpeechBrain's class only supports the published number, so
            its blocks are replaced for others.
    """

    def __init__(self, classes: int, width: int = _CNN14_WIDTH) -> None:
        modules = speechbrain_modules()
        encoder = modules.Cnn14(mel_bins=80, emb_dim=32 * width, return_reps=True, l2i=False)
        if width != _CNN14_WIDTH:
            widths = [1, *(width << block for block in range(6))]
            for block, (channels, more) in enumerate(itertools.pairwise(widths), 1):
                setattr(encoder, f"conv_block{block}", modules.Cnn14Block(channels, more, "bn"))
        mel = modules.Filterbank(n_mels=80, n_fft=1024, sample_rate=16_000, log_mel=False)
        super().__init__(encoder, nn.Linear(32 * width, classes), mel)

    @override
    def load(self, classifier: Classifier) -> None:
        state = classifier.state_dict()
        self.encoder.load_state_dict(renamed(state, CNN14_NAMES))
        self.head.load_state_dict(renamed(state, CNN14_HEAD_NAMES))

    def forward(self, network_input: Tensor) -> tuple[Any, Tensor]:
        """Return the representations, the deepest first, and the logits."""
        embedding, representations = self.encoder(network_input)
        return representations, self.head(embedding).squeeze(1)
