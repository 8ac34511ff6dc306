"""``otoscope convert``: a model from anywhere to a model folder of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from otoscope.explain import Explainer
from otoscope.loading import load_model
from otoscope.nn import NMFDictionary


def convert(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], revision: str | None = None, **details: Any
) -> Path:
    """Opens a model and saves it as ours: interpreter with classifier, classifier, or dictionary.

    Args:
        source: What `otoscope.load` opens, ``owner/name`` on the hub and SpeechBrain's folders among them.
        folder: Replaced as a whole if it exists.
        revision: Branch, tag or commit on the hub.
        **details: For configuration and card, see `Shareable.save_pretrained`.

    Raises:
        CheckpointError: There is no such model, it does not fit, or the folder cannot be written.
        DownloadError: It cannot be fetched.
    """
    model = load_model(source, revision)
    if isinstance(model, NMFDictionary):
        return model.save(folder, **details)
    if isinstance(model, tuple):
        interpreter, classifier = model
        return Explainer(classifier, interpreter).save_pretrained(folder, **details)
    return model.save_pretrained(folder, **details)
