"""Tables of parameter names, one per network: name of a part in SpeechBrain, and name of the same part here."""

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
"""``VectorQuantizedPSI_Audio`` and its variants for FocalNet and ViT (``psi_model.ckpt``)."""

PIQ_UNUSED = ("adapter", "down", "up", "codebook")
"""Parts of it that are not used with ``use_vq: False``."""

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
"""Names of the parts of ViT in transformers up to version 4, and since version 5."""


def backbone_spelling(names: Collection[str], parameters: Collection[str]) -> dict[str, str]:
    """Return the names of a backbone's parameters in the spelling of the installed version of transformers.

    Args:
        names: Names in a file.
        parameters: Names of the parameters of the backbone that the installed version builds.

    Returns:
        Name of the parameter for each name in the file.

    Example:
        >>> backbone_spelling(["encoder.layer.0.output.dense.bias"], ["layers.0.mlp.fc2.bias"])
        {'encoder.layer.0.output.dense.bias': 'layers.0.mlp.fc2.bias'}
    """
    by_modern_name = {_modern(name): name for name in parameters}
    return {name: by_modern_name.get(_modern(name), name) for name in names}


def _modern(name: str) -> str:
    for old, new in _SPELLINGS:
        name = re.sub(old, new, name)
    return name
