"""Conversion of SpeechBrain's interpreters to ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otoscope.classifiers import Classifier
from otoscope.errors import CheckpointError
from otoscope.interpreters import Interpreter, L2IInterpreter, LMACInterpreter, PIQInterpreter
from otoscope.nn import NMFDictionary
from otoscope.speechbrain import names
from otoscope.speechbrain.classifiers import read_classifier, read_frontend
from otoscope.speechbrain.faults import one_error
from otoscope.speechbrain.hyperparameters import FILE_NAME, Call
from otoscope.speechbrain.networks import recognise
from otoscope.speechbrain.source import Source
from otoscope.speechbrain.weights import Part, load_parts, memory_limit, read_weights

_KEYS = ("psi_model", "psi")
_MOST_CODES = 1_000_000
_PUBLISHED_BATCH = 16
"""Batch size over which SpeechBrain sums L-MAC's regulariser; ours is the mean, with a weight that much larger."""


@one_error
def has_interpreter(source: Source) -> bool:
    """Whether a source holds an interpreter, not only a classifier."""
    if source.described:
        return source.hyperparameters.call(*_KEYS) is not None
    return source.find("psi_model") is not None


@one_error
def has_classifier(source: Source) -> bool:
    """Whether a source holds a classifier."""
    if source.described:
        return "embedding_model" in source.hyperparameters
    return source.find("embedding_model") is not None and source.find("classifier") is not None


@one_error
def read_interpreter(source: Source) -> tuple[Interpreter[Any], Classifier]:
    """Build the interpreter of a SpeechBrain source and the classifier that it explains, both frozen.

    Args:
        source: Source with the network ``psi_model`` (or ``psi``) and a classifier.

    Raises:
        CheckpointError: A file is missing or does not fit, or the network is not supported.
    """
    content = source.hyperparameters
    psi = content.call(*_KEYS) if source.described else _recognised_psi(source)
    if psi is None:
        raise CheckpointError(f"{content.path}: has no psi_model, so there is no interpreter to open")
    reader = _READERS.get(psi.target.removeprefix("speechbrain.lobes.models."), _READERS.get(psi.name))
    if reader is None:
        raise CheckpointError(f"{content.path}: its psi_model is {psi.target}, which is not supported")
    classifier = read_classifier(source)
    interpreter = reader(source, psi, classifier)
    return interpreter.eval().requires_grad_(False), classifier


def _recognised_psi(source: Source) -> Call:
    """Return the network of an interpreter whose file no hyperparameter file describes."""
    path = source.file(*_psi_files(source))
    network = recognise(read_weights(path))
    # The files of L2I and L-MAC look alike, and their options are not in the weights.
    if network != "VectorQuantizedPSI_Audio":
        raise CheckpointError(
            f"{path}: only PIQ's network can be opened without {FILE_NAME}; put that file beside it"
        )
    source.remarks.append("PIQ with quantisation and a mask as output, because there is no hyperparams.yaml")
    return Call("new", network)


@one_error
def read_dictionary(source: Source) -> NMFDictionary:
    """Build the NMF dictionary of a SpeechBrain source.

    Args:
        source: Source with the network ``nmf_decoder``.

    Raises:
        CheckpointError: The source has no dictionary.
    """
    content = source.hyperparameters
    if source.described and content.call("nmf_decoder") is None:
        raise CheckpointError(f"{content.path}: has no nmf_decoder, so there is no dictionary to open")
    part = Part(source.file("nmf_decoder"), names.NMF_DECODER)
    part.shape("W")  # raises if it is missing
    return NMFDictionary(part.weights["W"].relu(), read_frontend(content))


def _piq(source: Source, psi: Call, classifier: Classifier) -> PIQInterpreter:
    content = source.hyperparameters
    use_vq = bool(content.get("use_vq", True))
    unused = () if use_vq else names.PIQ_UNUSED
    part = Part(source.file(*_psi_files(source)), names.PIQ, unused)
    options: dict[str, Any] = {"use_vq": use_vq, "use_mask_output": bool(content.get("use_mask_output", True))}
    options["mask_threshold"] = float(content.get("mask_th", 0.35))
    if use_vq:
        for option in ("use_adapter", "adapter_reduce_dim", "activate_class_partitioning"):
            if not psi.arguments.get(option, True):
                raise CheckpointError(f"{content.path}: psi_model with {option} False is not supported")
        # SpeechBrain's class divides its codebook among 50 classes by default.
        default = 50 if source.described else len(classifier.labels)
        options["codes"] = part.shape("codebook.embedding.weight")[0]
        options["shared_codes"] = int(psi.arguments.get("shared_keys", 0))
        options["codebook_classes"] = int(psi.arguments.get("numclasses", default))
        if not (0 <= options["shared_codes"] <= _MOST_CODES and 0 < options["codebook_classes"] <= _MOST_CODES):
            raise CheckpointError(f"{content.path}: psi_model has impossible numbers of codes or classes")
    with memory_limit([part], source.name):
        interpreter = PIQInterpreter(classifier, decoder="published", codebook_init="uniform", **options)
    load_parts(interpreter, [part])
    return interpreter


def _l2i(
    table: dict[str, str], default_temperature: float
) -> Callable[[Source, Call, Classifier], Interpreter[Any]]:
    """Return a function that builds L2I interpreters with a table of names and a default temperature."""

    def read(source: Source, psi: Call, classifier: Classifier) -> L2IInterpreter:
        content = source.hyperparameters
        if psi.arguments.get("use_adapter", False):
            raise CheckpointError(f"{content.path}: psi_model with use_adapter True is not supported")
        parts = [
            Part(source.file(*_psi_files(source)), table),
            Part(source.file("theta"), names.THETA),
            Part(source.file("nmf_decoder"), names.NMF_DECODER),
        ]
        parts[2].shape("W")  # raises if it is missing
        # SpeechBrain applies a ReLU to the dictionary in every step; ours is not negative
        parts[2].weights["W"] = parts[2].weights["W"].relu()
        with memory_limit(parts, source.name):
            interpreter = L2IInterpreter(
                classifier,
                decoder="published",
                components=parts[2].shape("W")[1],
                relevance_threshold=float(content.get("relevance_th", 0.2)),
                pooling_frames=parts[1].shape("hard_att.weight")[1],
                alpha=float(content.get("alpha", 10.0)),
                beta=float(content.get("beta", 0.8)),
                temperature=float(content.get("classifier_temp", default_temperature)),
            )
        load_parts(interpreter, parts)
        return interpreter

    return read


def _lmac(source: Source, psi: Call, classifier: Classifier) -> LMACInterpreter:
    content = source.hyperparameters
    if not content.get("use_mask_output", True):
        raise CheckpointError(f"{content.path}: L-MAC with use_mask_output False is not supported")
    part = Part(source.file(*_psi_files(source)), names.LMAC_CNN14)
    with memory_limit([part], source.name):
        interpreter = LMACInterpreter(
            classifier,
            decoder="published",
            l_in=float(content.get("l_in_w", 4.0)),
            l_out=float(content.get("l_out_w", 0.2)),
            # the regulariser of ours is a mean over clips, that of SpeechBrain a sum over a batch
            l1=_PUBLISHED_BATCH * float(content.get("reg_w_l1", 0.4)),
            tv=float(content.get("reg_w_tv", 0.0)),
            guidance=float(content.get("g_w", 4.0)) if content.get("finetuning", False) else 0.0,
            guidance_correlation=float(content.get("crosscor_th", 0.6)),
            guidance_threshold=float(content.get("bin_th", 0.35)),
        )
    load_parts(interpreter, [part])
    return interpreter


def _psi_files(source: Source) -> tuple[str, ...]:
    """Return the key of the interpreter's network, and other names that its file may have."""
    key = next((key for key in _KEYS if key in source.hyperparameters), _KEYS[0])
    return (key, *(f"{other}.ckpt" for other in _KEYS if other != key))


_READERS: dict[str, Callable[[Source, Call, Classifier], Interpreter[Any]]] = {
    "VectorQuantizedPSI_Audio": _piq,
    "VectorQuantizedPSIFocalNet_Audio": _piq,
    "VectorQuantizedPSIViT_Audio": _piq,
    "PsiOptimized": _l2i(names.L2I_CONV2D, 0.01),
    "CNN14PSI_stft_2d": _l2i(names.L2I_CNN14, 1.0),
    "Cnn14.CNN14PSI_stft": _lmac,
}
"""Functions that build our interpreters, by the class of SpeechBrain's network, or by its module and class."""
