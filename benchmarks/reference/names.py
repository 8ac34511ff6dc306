"""Tables of our names of parameters and those of SpeechBrain."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

ENCODER_NAMES = {
    "blocks.0.0": "conv1",
    "blocks.0.1": "bn1",
    "blocks.1.0": "conv2",
    "blocks.1.1": "bn2",
    "blocks.2.0": "conv3",
    "blocks.2.1": "bn3",
    "blocks.3.0": "conv4",
    "blocks.3.1": "bn4",
    "residual": "resblock",
}
"""Our name of each part of the Conv2d classifier, and the name in ``Conv2dEncoder_v2``."""

HEAD_NAMES = {"head.norm": "blocks.0.norm", "head.linear": "blocks.1.w", "head.weight": "weight"}
"""Our name of each part of the cosine head, and the name in ECAPA-TDNN's ``Classifier``."""

CNN14_NAMES = {
    "norm": "norm0",
    "blocks.0": "conv_block1",
    "blocks.1": "conv_block2",
    "blocks.2": "conv_block3",
    "blocks.3": "conv_block4",
    "blocks.4": "conv_block5",
    "blocks.5": "conv_block6",
}
"""Our name of each part of CNN14, and the name in ``Cnn14``."""

CNN14_HEAD_NAMES = {"head.weight": "weight", "head.bias": "bias"}
"""Our name of each part of CNN14's head, and the name in ``torch.nn.Linear``."""

INTERPRETER_NAMES = {
    "adapter": "adapter",
    "down": "down",
    "quantizer.codebook": "codebook.embedding",
    "up": "up",
    "decoder.layers": "decoder",
}
"""Our name of each part of PIQ, and the name in ``VectorQuantizedPSI_Audio``."""

ACTIVATION_NAMES = {
    "conv2d": {"decoder.decoder.layers": "decoder", "decoder.linear": "decoder.14"},
    "cnn14": {
        "decoder.pyramid.layers.0": "convt1",
        "decoder.pyramid.layers.1": "convt2",
        "decoder.pyramid.layers.2": "convt3",
        "decoder.pyramid.layers.3": "convt4",
        "decoder.pyramid.layers.4": "convt5",
        "decoder.pyramid.layers.5": "convt6",
        "decoder.pyramid.layers.6": "convt7",
        "decoder.pyramid.layers.7": "convt8",
        "decoder.last": "convt9",
    },
}
"""Our name of each part of L2I's network for each classifier, and the name in ``PsiOptimized`` or
``CNN14PSI_stft_2d``."""

MASK_NAMES = {
    **{f"decoder.pyramid.layers.{layer}": f"convt{layer + 1}" for layer in range(8)},
    "decoder.last": "convt9",
}
"""Our name of each part of L-MAC's network for CNN14, and the name in ``CNN14PSI_stft``."""

THETA_NAMES = {"pooling.linear": "hard_att", "head": "classifier.0"}
"""Our name of each part of L2I's pooling and classifier, and the name in ``Theta``."""

DICTIONARY_NAMES = {"dictionary": "W"}
"""Our name of the dictionary in L2I and in the amortised NMF, and the name in ``NMFDecoderAudio``."""

AMORTIZED_NAMES = {"encoder.0": "convenc.0", "encoder.1": "convenc.2", "encoder.2": "convenc.4"}
"""Our name of each layer of the amortised NMF's encoder, and the name in ``NMFEncoder``."""


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors of a state dict whose names are in a name table, under their new names.

    Args:
        state: State dict.
        names: New name of each part by its old name. If several old names match, the longest is used.
    """
    result = {}
    for name, tensor in state.items():
        fitting = [old for old in names if name == old or name.startswith(f"{old}.")]
        if fitting:
            old = max(fitting, key=len)
            result[names[old] + name.removeprefix(old)] = tensor
    return result


def inverted(names: Mapping[str, str]) -> dict[str, str]:
    """Return the name table for the other direction."""
    return {new: old for old, new in names.items()}
