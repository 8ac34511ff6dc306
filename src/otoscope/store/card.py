"""Model cards: the ``README.md`` of a model folder, which the hub shows."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from otoscope.store.folder import read_config
from otoscope.store.kinds import class_path_of
from otoscope.store.places import CLASSIFIER_NAME

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
    rate, n_fft, window, hop = (
        frontend.get(key, "?") for key in ("sample_rate_hz", "n_fft", "window_ms", "hop_ms")
    )
    parts = [
        _header(config),
        f"# {escaped(name)}",
        f"{summary}, for the Python package otoscope.",
        "## Use",
        _example(name, explains),
        "## Classes",
        f"{len(labels)}: {', '.join(map(escaped, labels))}.",
        "## Front-end",
        f"Mono at {rate} Hz; log magnitude of an STFT with {n_fft} points, a Hamming window of {window} ms and a "
        f"hop of {hop} ms.",
        "## Data",
        _prose(config.get("data") or "Not stated."),
        *(_section(config, classifier, name) for name in ("intended_use", "limits", "training")),
        "## Metrics",
        _metrics(config.get("metrics")),
        "## Licence",
        escaped(config.get("license") or "Not stated: ask the owner before you use it."),
        _section(config, classifier, "attribution"),
    ]
    parts = [part for part in parts if part]
    if source := config.get("source"):
        parts += ["## Origin", f"Converted from {escaped(source)}."]
    return "\n\n".join(parts) + "\n"


def escaped(text: Any) -> str:
    r"""Return text that Markdown and HTML show as it is, on one line.

    Args:
        text: Name, label or licence of any origin.

    Example:
        >>> escaped("<b>dog</b> [x](y)"), escaped("clock_tick")
        ('&lt;b&gt;dog&lt;/b&gt; \\[x\\](y)', 'clock_tick')
    """
    line = " ".join(_writable(text).split())
    line = html.escape(re.sub(r"([\\`*\[\]#|~$!])", r"\\\1", line), quote=False)
    # Underscores inside words stand for themselves.
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\_", line)


def _prose(text: Any) -> str:
    """Return text of several lines that may use Markdown's emphasis, but no HTML, no headings and no rules."""
    # Links lead to the web, not to `javascript:`.
    safe = re.sub(r"\]\((?!https?://)", r"]\\(", html.escape(_writable(text), quote=False))
    lines = safe.splitlines()
    return "\n".join(re.sub(r"^(\s*)([#=]|-{3}|`{3}|~{3})", r"\1\\\2", line) for line in lines)


def _writable(text: Any) -> str:
    """Return text without lone surrogates, which cannot be written to a file."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def _section(config: Mapping[str, Any], classifier: Mapping[str, Any], name: str) -> str:
    """Return an optional section, of the interpreter or of its classifier: text, or a list of lines."""
    content = config.get(name) or classifier.get(name)
    if not content:
        return ""
    lines = content if isinstance(content, list | tuple) else None
    text = _prose(content) if lines is None else "\n".join(f"- {_prose(line)}" for line in lines)
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
        # on one line, so that no line of it can end the block
        header["license"] = " ".join(_writable(license_).split())
    return f"---\n{yaml.safe_dump(header, sort_keys=False, width=10_000)}---"


def _example(name: str, explains: bool) -> str:
    # A text of JSON is one of Python too; lines of code do not begin with it, so that it cannot end the block.
    quoted = json.dumps(str(name))
    lines = ["```python", "import otoscope", ""]
    if explains:
        lines += [f'explanation = otoscope.load({quoted}).explain("clip.wav")', 'explanation.save("explanation")']
    else:
        lines += [
            f"classifier = otoscope.load_classifier({quoted})",
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
    return "\n".join(
        ["| Metric | Value |", "|---|---|", *(f"| {escaped(name)} | {value:.4g} |" for name, value in rows)]
    )


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
