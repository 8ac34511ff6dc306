"""Which of SpeechBrain's parameters is which of ours: one table a network, their name of a part first."""

from __future__ import annotations

import re
from collections.abc import Collection

CONV2D_ENCODER = {
    "conv1": "blocks.0.0",
    "bn1": "blocks.0.1",
    "conv2": "blocks.1.0",
    "bn2": "blocks.1.1",
    "conv3": "blocks.2.0",
    "bn3": "blocks.2.1",
    "conv4": "blocks.3.0",
    "bn4": "blocks.3.1",
    "resblock": "residual",
}
"""``Conv2dEncoder_v2`` (``embedding_modelft.ckpt``)."""

CNN14_ENCODER = {
    "norm0": "norm",
    **{f"conv_block{i + 1}": f"blocks.{i}" for i in range(6)},
}
"""``Cnn14`` (``embedding_model.ckpt``)."""

BACKBONE = {"": "backbone."}
"""``FocalNetBackbone`` and ``ViTModel`` of transformers (``embedding_model.ckpt``)."""

COSINE_HEAD = {"blocks.0.norm": "head.norm", "blocks.1.w": "head.linear", "weight": "head.weight"}
"""ECAPA-TDNN's ``Classifier`` with one block (``classifier.ckpt``)."""

LINEAR_HEAD = {"weight": "head.weight", "bias": "head.bias"}
"""``torch.nn.Linear`` (``classifier.ckpt``)."""

PIQ = {
    "adapter": "adapter",
    "down": "down",
    "codebook.embedding": "quantizer.codebook",
    "up": "up",
    "decoder": "decoder.layers",
}
"""``VectorQuantizedPSI_Audio`` and its kin for FocalNet and ViT (``psi_model.ckpt``)."""

PIQ_UNUSED = ("adapter", "down", "up", "codebook")
"""What of it ``use_vq: False`` leaves aside."""

L2I_CONV2D = {
    **{f"decoder.{i}": f"decoder.decoder.layers.{i}" for i in range(13)},
    "decoder.14": "decoder.linear",
}
"""``PsiOptimized`` (``psi_model.ckpt``)."""

PYRAMID = {f"convt{i + 1}": f"decoder.pyramid.layers.{i}" for i in range(8)}
"""Common part of the networks of L2I and L-MAC on CNN14."""

L2I_CNN14 = {**PYRAMID, "convt9": "decoder.last"}
"""``CNN14PSI_stft_2d`` (``psi_model.ckpt``)."""

THETA = {"hard_att": "pooling.linear", "classifier.0": "head"}
"""``Theta`` (``theta.ckpt``)."""

NMF_DECODER = {"W": "dictionary"}
"""``NMFDecoderAudio`` (``nmf_decoder.ckpt``), after its ReLU."""

LMAC_CNN14 = {**PYRAMID, "convt9": "decoder.last"}
"""``CNN14PSI_stft`` of ``lobes.models.Cnn14`` (``psi_model.ckpt``)."""

_SPELLINGS = (
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
"""How transformers named the parts of ViT until version 4, and how since."""


def backbone_spelling(names: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Each name of a backbone's parameter in the spelling of the installed transformers.

    Args:
        names: Of a file.
        known: Of the backbone here.

    Example:
        >>> backbone_spelling(["encoder.layer.0.output.dense.bias"], ["layers.0.mlp.fc2.bias"])
        {'encoder.layer.0.output.dense.bias': 'layers.0.mlp.fc2.bias'}
    """
    here = {_modern(name): name for name in known}
    return {name: here.get(_modern(name), name) for name in names}


def _modern(name: str) -> str:
    for old, new in _SPELLINGS:
        name = re.sub(old, new, name)
    return name
