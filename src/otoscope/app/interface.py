"""Interface of the app in Gradio: tabs to explain, to compare two models, and to review."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from otoscope.app.explaining import Answer, AppModel, Area, Choice, method_title
from otoscope.app.html import as_text, plain, result_html
from otoscope.app.limits import LONGEST_S, Limits, public_message
from otoscope.app.reviewing import ReviewTab
from otoscope.app.shelf import Shelf
from otoscope.errors import MissingExtraError, OtoscopeError
from otoscope.models import sample_recordings

PREDICTED, ALL_OTHERS = "the predicted class", "all other classes"
AREAS = ("the method's own", "sufficient", "decisive", "a share")
_VISITORS = 100
"""Visitors whose choices are in memory at once; the one who was idle longest starts anew."""
_PLACEHOLDER = "<p>The result appears here.</p>"
_INTRODUCTION = (
    "Upload or record a sound, or choose a sample. The result plays the recording, the *evidence* that the "
    "decision rests on, and the *remainder*, each from the same instant. One recording is explained at a time; the "
    "others wait in a queue, which shows your place and the expected seconds. This app accepts sound files of at "
    "most {upload_mb:g} MB and {duration_s:g} s, and removes recordings and results after {keep_min:g} minutes."
)


@dataclass(frozen=True)
class Setting:
    """What the app was started with.

    Attributes:
        models: One or two models.
        limits: Limits of uploads.
        shelf: Place of the results.
        review: Tab of the review; None: there is none.
        worker: Thread that explains. It is always the same one: each further thread would keep freed memory of its
            own.
    """

    models: Sequence[AppModel]
    limits: Limits
    shelf: Shelf
    review: ReviewTab | None = None
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "otoscope-explain"))


def require_gradio() -> Any:
    """Import Gradio.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError(
            "app: gradio is not installed; install the extra: pip install 'otoscope[app]'"
        ) from error
    return gradio


def make_interface(setting: Setting) -> Any:
    """Return the interface as Gradio's ``Blocks``.

    Args:
        setting: What the app was started with.

    Raises:
        MissingExtraError: Gradio is not installed.
    """
    gr = require_gradio()
    with gr.Blocks(title="Otoscope", analytics_enabled=False) as blocks:
        gr.Markdown("# Otoscope\n\n" + _INTRODUCTION.format(**vars(setting.limits)))
        with gr.Tab("Explain", id="explain"):
            _explain_tab(gr, setting)
        if len(setting.models) > 1:
            with gr.Tab("Compare two models", id="compare"):
                _compare_tab(gr, setting)
        if setting.review is not None:
            with gr.Tab("Review", id="review") as tab:
                setting.review.build(gr, tab)
    # Gradio holds the choices of this number of visitors, the latest ones
    blocks.state_session_capacity = _VISITORS
    return blocks


def choice_of(
    target: str | None = None,
    against: str | None = None,
    method: str | None = None,
    area: str | None = None,
    share_percent: float = 10.0,
) -> Choice:
    """Return what the fields of the interface ask for.

    Args:
        target: Class, or `PREDICTED`.
        against: Class, or `ALL_OTHERS`.
        method: Name of a method; empty: that of the model.
        area: One of `AREAS`.
        share_percent: Share of the sound, for the last of them.

    Example:
        >>> choice_of("dog", ALL_OTHERS, "", "a share", 20)
        Choice(target='dog', against=None, method=None, area=0.2)
    """
    areas: dict[str, Area] = {"sufficient": "sufficient", "decisive": "decisive", "a share": share_percent / 100}
    return Choice(
        target=None if target in (None, "", PREDICTED) else target,
        against=None if against in (None, "", ALL_OTHERS) else against,
        method=method or None,
        area=areas.get(area or ""),
    )


def explain_and_clean(
    model: AppModel, path: str | os.PathLike[str], choice: Choice, limits: Limits, shelf: Shelf
) -> Answer:
    """Explain as `AppModel.explain` does, and free the memory of its figures at once.

    The parts of a matplotlib figure refer to each other: some 25 000 objects and 8 MB of each explanation stay
    until Python's garbage collector looks for such cycles in all objects, which it does rarely and irregularly.

    Args:
        model: Model.
        path: Uploaded file, or a sample recording.
        choice: What is asked for.
        limits: Limits of uploads.
        shelf: Place of the results.

    Raises:
        OtoscopeError: The recording is refused, or the choice does not fit the model.
    """
    try:
        return model.explain(path, choice, limits, shelf)
    finally:
        gc.collect()


def _recording_inputs(gr: Any) -> tuple[Any, Any]:
    audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label="Recording", buttons=["download"])
    samples = [("none", ""), *((sample.name.replace("_", " "), sample.name) for sample in sample_recordings())]
    return audio, gr.Dropdown(samples, value="", label="Sample, if nothing is uploaded")


def _explain_tab(gr: Any, setting: Setting) -> None:
    model = setting.models[0]
    labels, methods = model.explainer.labels, [(method_title(name), name) for name in model.methods]
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            audio, sample = _recording_inputs(gr)
            gr.Markdown(f"Model: {as_text(model.title)}")
            target = gr.Dropdown([PREDICTED, *labels], value=PREDICTED, label="Explain")
            against = gr.Dropdown([ALL_OTHERS, *labels], value=ALL_OTHERS, label="Rather than")
            usual = (f"default: {model.explainer.method}", "")
            method = gr.Dropdown([usual, *methods], value="", label="Method")
            area = gr.Radio(list(AREAS), value=AREAS[0], label="Area that is kept")
            share = gr.Slider(1, 100, value=10, step=1, label="Share in percent, if a share is chosen")
            button = gr.Button("Explain", variant="primary", elem_id="explain-button")
            # The place in the queue is shown beside the button too: the result may be far from it.
            waiting = gr.HTML(elem_id="explain-waiting", min_height=48)
        with gr.Column(scale=3, min_width=320):
            result = gr.HTML(_PLACEHOLDER, elem_id="explain-result", label="Result", min_height=120)

    def explain(
        audio: str | None, sample: str, target: str, against: str, method: str, area: str, share: float
    ) -> str:
        return _result(gr, setting, model, audio, sample, choice_of(target, against, method, area, share))

    inputs = [audio, sample, target, against, method, area, share]
    button.click(
        explain,
        inputs,
        result,
        api_name="explain",
        show_progress_on=[result, waiting],
        concurrency_limit=1,
        concurrency_id="explain",
    )


def _compare_tab(gr: Any, setting: Setting) -> None:
    shared = [label for label in setting.models[0].explainer.labels if label in setting.models[1].explainer.labels]
    with gr.Row():
        with gr.Column(min_width=280):
            audio, sample = _recording_inputs(gr)
        with gr.Column(min_width=280):
            target = gr.Dropdown([PREDICTED, *shared], value=PREDICTED, label="Explain (a class of both models)")
            button = gr.Button("Explain with both models", variant="primary", elem_id="compare-button")
    results = []
    with gr.Row():
        for number, model in enumerate(setting.models, start=1):
            with gr.Column(min_width=320):
                gr.Markdown(f"## {as_text(model.title)}")
                place = f"compare-result-{number}"
                results.append(gr.HTML(_PLACEHOLDER, elem_id=place, label=model.title, min_height=120))

    def compare(audio: str | None, sample: str, target: str) -> Iterator[tuple[Any, Any]]:
        first = _result(gr, setting, setting.models[0], audio, sample, choice_of(target))
        yield first, gr.skip()
        yield gr.skip(), _result(gr, setting, setting.models[1], audio, sample, choice_of(target))

    button.click(
        compare,
        [audio, sample, target],
        results,
        api_name="compare",
        concurrency_limit=1,
        concurrency_id="explain",
    )


def _result(gr: Any, setting: Setting, model: AppModel, audio: str | None, sample: str, choice: Choice) -> str:
    """Explain a recording and return the result as HTML; what is refused becomes a message of one line.

    Raises:
        gradio.Error: The recording is refused, the choice does not fit, or the app has a fault.
    """
    paths = {item.name: item.path for item in sample_recordings()}
    path = audio or paths.get(sample)
    # Samples are those of the package: a limit for visitors does not forbid them.
    limits = setting.limits if audio else replace(setting.limits, duration_s=LONGEST_S)
    if path is None:
        raise gr.Error("Upload or record a sound first, or choose a sample.", print_exception=False)
    try:
        answer = setting.worker.submit(explain_and_clean, model, path, choice, limits, setting.shelf).result()
    except OtoscopeError as error:
        message = public_message(error, path, Path.cwd())
        raise gr.Error(str(plain(message)), print_exception=False) from error
    except Exception as error:
        # Messages of other packages may state anything; they are for the log of the server alone.
        traceback.print_exc(file=sys.stderr)
        raise gr.Error("The app has a fault; its log has the details.", print_exception=False) from error
    return result_html(answer.token, answer.summary, answer.name)
