"""Model cards: the ``README.md`` of a model folder, which the hub shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from otoscope.store.folder import read_config
from otoscope.store.places import CLASSIFIER_NAME
from otoscope.store.kinds import class_path_of

CARD_NAME = "README.md"
_MAX_METRICS = 40


def write_card(folder: Path, name: str) -> None:
    """Write ``README.md`` into a model folder that holds the model already.

    Args:
        folder: The model folder.
        name: Name of the model: id of a repository, or name of a folder.
    """
    config = read_config(folder)
    # An interpreter has the labels and the front-end of the classifier that it explains.
    classifier = read_config(folder / CLASSIFIER_NAME) if config.get("kind") == "interpreter" else config
    (folder / CARD_NAME).write_text(card_text(name, config, classifier), encoding="utf-8")


def card_text(name: str, config: Mapping[str, Any], classifier: Mapping[str, Any]) -> str:
    """Return the text of a card.

    Args:
        name: Name of the model.
        config: Configuration of the model folder.
        classifier: Configuration of the classifier: the same, or that of the explained classifier.
    """
    explains = config.get("kind") == "interpreter"
    title = _class_name(config).removesuffix("Interpreter").removesuffix("Classifier")
    summary = f"{title} explanations of a {_class_name(classifier)}" if explains else f"{title} sound classifier"
    labels, frontend = classifier["labels"], classifier["frontend"]
    parts = [
        _header(config),
        f"# {name}",
        f"{summary}, for the Python package otoscope.",
        "## Use",
        _example(name, explains),
        "## Classes",
        f"{len(labels)}: {', '.join(labels)}.",
        "## Front-end",
        f"Mono at {frontend['sample_rate_hz']} Hz; log magnitude of an STFT with {frontend['n_fft']} points, a "
        f"Hamming window of {frontend['window_ms']} ms and a hop of {frontend['hop_ms']} ms.",
        "## Data",
        str(config.get("data") or "Not stated."),
        *(_section(config, classifier, name) for name in ("intended_use", "limits", "training")),
        "## Metrics",
        _metrics(config.get("metrics")),
        "## Licence",
        str(config.get("license") or "Not stated: ask the owner before you use it."),
        _section(config, classifier, "attribution"),
    ]
    parts = [part for part in parts if part]
    if source := config.get("source"):
        parts += ["## Origin", f"Converted from {source}."]
    return "\n\n".join(parts) + "\n"


def _section(config: Mapping[str, Any], classifier: Mapping[str, Any], name: str) -> str:
    """Return an optional section, of the interpreter or of its classifier: text, or a list of lines."""
    content = config.get(name) or classifier.get(name)
    if not content:
        return ""
    text = content if isinstance(content, str) else "\n".join(f"- {line}" for line in content)
    title = name.capitalize().replace("_", " ")
    return f"## {title}\n\n{text}"


def _header(config: Mapping[str, Any]) -> str:
    # The hub reads this YAML block for its search and its licence label.
    header: dict[str, Any] = {
        "library_name": "otoscope",
        "pipeline_tag": "audio-classification",
        "tags": ["otoscope", "audio", "explainable-ai"],
    }
    if license_ := config.get("license"):
        header["license"] = str(license_)
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---"


def _example(name: str, explains: bool) -> str:
    lines = ["```python", "import otoscope", ""]
    if explains:
        lines += [f'explanation = otoscope.load("{name}").explain("clip.wav")', 'explanation.save("explanation")']
    else:
        lines += [
            f'classifier = otoscope.load_classifier("{name}")',
            'waveform = otoscope.load_audio("clip.wav", classifier.frontend.sample_rate_hz)',
            "spectrogram = classifier.frontend(waveform[None] / waveform.abs().max())",
            "probabilities = classifier(spectrogram.log_magnitude).probabilities",
        ]
    return "\n".join([*lines, "```"])


def _metrics(metrics: Any) -> str:
    """Return a table of the numbers among the metrics."""
    rows = list(_numbers(metrics, ""))[:_MAX_METRICS] if isinstance(metrics, Mapping) else []
    if not rows:
        return "Not stated."
    return "\n".join(["| Metric | Value |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in rows)])


def _numbers(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}: ")
        # A bool is an int in Python, but not a number for the table.
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value


def _class_name(config: Mapping[str, Any]) -> str:
    name = str(config.get("class", ""))
    return (class_path_of(name) or name).rpartition(".")[2]
