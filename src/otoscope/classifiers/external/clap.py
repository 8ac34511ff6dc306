"""CLAP, which classifies by words: an audio model, and an embedding of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.nn.precision import in_float32

CLAP_AUDIO = "clap_audio_model"
"""Type of the audio models in their configuration."""
CLAP_SCALE = 1 / 0.07
"""Factor on the cosines at the start of CLAP's training, for models that do not hold the learnt one."""


class ClapHead(nn.Module):
    """Audio model of CLAP with an embedding of each class; logits are scaled cosines.

    Args:
        model: Audio model, a ``ClapAudioModelWithProjection``.
        class_vectors: Embedding of each class, shape (classes, dimension).
        scale: Factor on the cosines.
    """

    class_vectors: Tensor
    scale: Tensor

    def __init__(self, model: Any, class_vectors: Tensor, scale: float = CLAP_SCALE) -> None:
        super().__init__()
        self.audio = model
        self.config = model.config
        self.register_buffer("class_vectors", class_vectors)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, input_features: Tensor) -> Tensor:
        """Map mel spectrograms (batch, views, frames, mel bins) to logits (batch, classes)."""
        longer = torch.zeros(len(input_features), 1, dtype=torch.bool, device=input_features.device)
        embedding = self.audio(input_features=input_features, is_longer=longer).audio_embeds
        return in_float32(self._scaled_cosines, embedding.to(self.class_vectors))

    def _scaled_cosines(self, embedding: Tensor) -> Tensor:
        return self.scale * (
            F.normalize(embedding, dim=-1) @ F.normalize(self.class_vectors.to(embedding), dim=-1).T
        )


@torch.no_grad()
def text_vectors(model: Any, tokenizer: Any, labels: Sequence[str], prompt: str) -> Tensor:
    """Return the embedding of each label in a sentence, shape (labels, dimension), float32.

    Args:
        model: CLAP, a ``ClapModel``.
        tokenizer: Its tokenizer.
        labels: Names of the classes.
        prompt: Sentence with ``{}`` in the place of the label.
    """
    tokens = tokenizer([prompt.format(label) for label in labels], padding=True, return_tensors="pt")
    embeddings = model.eval().get_text_features(**tokens.to(model.device))
    # since version 5, transformers returns an object
    vectors: Tensor = embeddings if isinstance(embeddings, Tensor) else embeddings.pooler_output
    return vectors.float()


def audio_model(transformers: Any, model: Any) -> Any:
    """Return the audio half of a CLAP model, with its weights."""
    audio = transformers.ClapAudioModelWithProjection(model.config.audio_config).to(model.device, model.dtype)
    audio.audio_model.load_state_dict(model.audio_model.state_dict())
    audio.audio_projection.load_state_dict(model.audio_projection.state_dict())
    return audio
