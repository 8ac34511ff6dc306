"""Pipelines of the package `transformers` as classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from otoscope.classifiers.external.transformers_model import TransformersClassifier, text_vectors
from otoscope.errors import ConfigurationError

_TASK = "audio-classification"
_ZERO_SHOT_TASK = "zero-shot-audio-classification"
_PROMPT = "This is a sound of {}."
"""Sentence of a zero-shot pipeline by default, ``hypothesis_template``."""


def from_pipeline(pipe: Any, labels: Sequence[str] | None = None, **options: Any) -> TransformersClassifier:
    """Return the classifier of an audio pipeline of `transformers`, ready for any method.

    Model, feature extractor, labels, sample rate and device are those of the pipeline, and so is the choice between
    one label and several (``function_to_apply``, or else the model's configuration). The model is shared with the
    pipeline and keeps its precision; its parameters no longer require gradients.

    Args:
        pipe: Pipeline of the task ``audio-classification`` or ``zero-shot-audio-classification``.
        labels: Candidate labels of a zero-shot pipeline (default: the ``candidate_labels`` that the pipeline was
            created with). Otherwise names that replace those of the model.
        **options: Further options of `TransformersClassifier`, such as ``representation`` or ``duration_s``. For a
            zero-shot pipeline, ``prompt`` replaces its ``hypothesis_template``.

    Raises:
        ConfigurationError: The pipeline is of another task, has no labels, or its scores are no probabilities.

    Example:
        >>> import transformers
        >>> config = transformers.ASTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=16, max_length=128, num_mel_bins=64, id2label={0: "dog", 1: "rain"})
        >>> pipe = transformers.pipeline("audio-classification", transformers.ASTForAudioClassification(config),
        ...     feature_extractor=transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=64))
        >>> from_pipeline(pipe).labels
        ['dog', 'rain']
    """
    task = _task_of(pipe)
    extractor = getattr(pipe, "feature_extractor", None) or getattr(pipe, "processor", None)
    arguments: dict[str, Any] = {"labels": labels, "feature_extractor": extractor}
    if task == _ZERO_SHOT_TASK:
        arguments |= _zero_shot_arguments(pipe, labels, options)
    else:
        arguments["multi_label"] = _multi_label_of(pipe)
    classifier = TransformersClassifier(pipe.model, **{**arguments, **options})
    return classifier.to(pipe.device)


def _task_of(pipe: Any) -> str:
    """Return the task of a pipeline after checking it."""
    task = getattr(pipe, "task", None)
    if not isinstance(task, str) or not hasattr(pipe, "model"):
        raise ConfigurationError(
            f"pipe: expected a pipeline of transformers, got {type(pipe).__name__}; models, folders and hub ids "
            "are opened by TransformersClassifier"
        )
    if task not in (_TASK, _ZERO_SHOT_TASK):
        raise ConfigurationError(
            f"pipe: its task is {task}, which does not classify sounds; expected {_TASK} or {_ZERO_SHOT_TASK}"
        )
    if not isinstance(pipe.model, torch.nn.Module):
        raise ConfigurationError(f"pipe: its model, {type(pipe.model).__name__}, is no torch.nn.Module")
    return task


def _multi_label_of(pipe: Any) -> bool | None:
    """Return whether a pipeline decides each class independently; None: as its model's configuration states."""
    function = _parameters(pipe, "_postprocess_params").get("function_to_apply")
    config = pipe.model.config
    if function == "none" or (function is None and getattr(config, "problem_type", None) == "regression"):
        raise ConfigurationError(
            "pipe: its scores are no probabilities (function_to_apply is none, or the model is a regression); "
            "create it with function_to_apply='softmax' or 'sigmoid'"
        )
    return None if function is None else bool(function == "sigmoid")


def _zero_shot_arguments(pipe: Any, labels: Sequence[str] | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of a zero-shot pipeline and their embeddings."""
    parameters = _parameters(pipe, "_preprocess_params")
    candidates = labels if labels is not None else parameters.get("candidate_labels")
    if not candidates:
        raise ConfigurationError(
            "labels: a zero-shot pipeline needs candidate labels: from_pipeline(pipe, labels=[...])"
        )
    if "class_vectors" in options:
        return {"labels": list(candidates)}
    prompt = options.get("prompt") or parameters.get("hypothesis_template", _PROMPT)
    vectors: Tensor = text_vectors(pipe.model, pipe.tokenizer, candidates, prompt)
    return {"labels": list(candidates), "class_vectors": vectors, "prompt": prompt}


def _parameters(pipe: Any, name: str) -> dict[str, Any]:
    # the parameters that a pipeline was created with are not public
    return dict(getattr(pipe, name, None) or {})
