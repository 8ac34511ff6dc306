"""From an upload to a result: the models of the app, what visitors choose, and the files of a result."""

from __future__ import annotations

import os
import shutil
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from otoscope.app.limits import Limits, read_upload, shown_name
from otoscope.app.shelf import Shelf
from otoscope.errors import ConfigurationError, DataError
from otoscope.explain import Explainer
from otoscope.explanation.stored import FolderExplanation
from otoscope.interpreters import is_untrained, make_untrained
from otoscope.methods import GRADIENT_FREE, METHODS, UNTRAINED
from otoscope.player.fragment import read_asset
from otoscope.recordings.files import EXPLANATION_NAME
from otoscope.report import ReportOptions, Results, write_report
from otoscope.report.clips import ClipResult
from otoscope.report.contents import Content

Area = float | Literal["decisive", "sufficient"]


@dataclass(frozen=True)
class Choice:
    """What a visitor asks for.

    Attributes:
        target: Class to explain; None: the predicted one.
        against: Class that it is compared with; None: all others.
        method: Name of a method without training; None: that of the model.
        area: Share of the sound that a method without training keeps; None: the method's own.
    """

    target: str | None = None
    against: str | None = None
    method: str | None = None
    area: Area | None = None


@dataclass(frozen=True)
class Answer:
    """Result of a request.

    Attributes:
        token: Name of the result on the shelf.
        summary: Summary of one line.
        name: Name of the recording.
    """

    token: str
    summary: str
    name: str


class AppModel:
    """A model of the app, which is chosen when the app starts.

    Args:
        explainer: Classifier and interpreter.
        title: Name that visitors see.
    """

    def __init__(self, explainer: Explainer, title: str) -> None:
        self.explainer = explainer
        self.title = title

    @property
    def methods(self) -> list[str]:
        """Names of the methods without training that fit the classifier."""
        return list(UNTRAINED if self.explainer.classifier.differentiable else GRADIENT_FREE)

    def explainer_of(self, choice: Choice) -> Explainer:
        """Return the explainer of a request; the classifier is shared by all of them.

        Args:
            choice: What is asked for.

        Raises:
            OtoscopeError: There is no such method or class, or they do not fit together.
        """
        explainer = self.explainer
        if choice.method is not None or choice.area is not None:
            method = choice.method or explainer.method
            if choice.method is None and not is_untrained(method):
                raise ConfigurationError(
                    f"area: {method} has none to choose; choose a method that needs no training, such as "
                    f"{self.methods[0]}"
                )
            options = {} if choice.area is None else {"area": choice.area}
            interpreter = make_untrained(method, explainer.classifier, **options)
            explainer = Explainer(explainer.classifier, interpreter)
        if choice.against is None:
            return explainer
        if choice.target is None:
            raise ConfigurationError(
                f"against: {choice.against!r} is compared with a target; choose the target too"
            )
        return explainer.between(choice.target, choice.against)

    def explain(self, path: str | os.PathLike[str], choice: Choice, limits: Limits, shelf: Shelf) -> Answer:
        """Explain an uploaded recording and write the files of the result.

        Args:
            path: Uploaded file, or a sample recording.
            choice: What is asked for.
            limits: Limits of uploads.
            shelf: Place of the results.

        Raises:
            OtoscopeError: The recording is refused, or the choice does not fit the model.
        """
        explainer, name = self.explainer_of(choice), shown_name(path)
        waveform = read_upload(path, explainer.sample_rate_hz, limits)
        explanation = explainer.explain(waveform, choice.target, name=name)
        asked = {"target": choice.target, "against": choice.against, "area": choice.area}
        source = {"model": self.title, "options": {key: value for key, value in asked.items() if value is not None}}
        token = shelf.add()
        folder = shelf.folder / token
        try:
            explanation.save(folder / "explanation", {**explanation.to_dict(), "source": source})
            write_page(read_clip(folder / "explanation"), folder / "report.html")
            _zip(folder / "explanation", folder / "explanation.zip", name)
            shutil.rmtree(folder / "explanation")
        except BaseException:
            shelf.remove(token)
            raise
        return Answer(token, explanation.summary(), name)


def method_title(name: str) -> str:
    """Return the title of a method, as results show it.

    Example:
        >>> method_title("grad_cam")
        'Grad-CAM'
    """
    return METHODS[name].title


def model_title(source: str | None) -> str:
    """Return the name of a model that visitors see: no path of the server.

    Args:
        source: Folder, or id on the hub; None: the bundled model.

    Example:
        >>> model_title(None), model_title("runs/piq/model"), model_title("owner/name-that-is-no-folder")
        ('bundled model of ten everyday sounds', 'piq', 'owner/name-that-is-no-folder')
    """
    if source is None:
        return "bundled model of ten everyday sounds"
    path = Path(source)
    if path.is_dir() or path.is_absolute() or len(path.parts) != 2:
        parts = [part for part in path.resolve().parts if part != "model"]
        return parts[-1] if parts else "model"
    return source


def read_clip(folder: Path) -> ClipResult:
    """Return an explanation in a folder, without its file's and its model's path.

    Args:
        folder: Folder that an explanation was saved to.

    Raises:
        DataError: It cannot be read.
    """
    content = Content.read(folder / EXPLANATION_NAME)
    return without_paths(ClipResult.of(content, partial(FolderExplanation, folder)))


def without_paths(clip: ClipResult) -> ClipResult:
    """Remove what an explanation states about the machine that it was made on.

    Args:
        clip: Explanation, which is changed.
    """
    clip.file = ""
    clip.source = _public(clip.source)
    return clip


def write_page(clip: ClipResult, path: Path) -> None:
    """Write the report of one explanation, which the app shows in a frame and offers for download.

    Args:
        clip: Explanation.
        path: File.

    Raises:
        DataError: A part of the explanation is missing or damaged.
    """
    script = read_asset("otoscope.app", "frame.js")
    options = ReportOptions(title=f"Explanation of {clip.name}", scripts=(script,))
    report = write_report(Results(clips=[clip]), path, options)
    if report.broken:
        path.unlink(missing_ok=True)
        raise DataError(report.skipped[0])


def _public(source: dict[str, Any]) -> dict[str, Any]:
    """Return what a result may state about its model and options: text without folders."""
    public: dict[str, Any] = {}
    for name, value in source.items():
        if name == "model" and isinstance(value, str):
            public[name] = model_title(value) if Path(value).is_absolute() else value
        elif name == "options" and isinstance(value, dict):
            public[name] = {key: item for key, item in value.items() if "/" not in str(item)}
    return public


def _zip(folder: Path, path: Path, name: str) -> None:
    """Write the files of a folder into an archive, in a folder with the name of the recording."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, Path(name) / file.relative_to(folder))
