"""``otoscope explain``: explain recordings, one folder each."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otoscope.cli.answer import AnswerLine
from otoscope.cli.long_options import add_long_options, long_options
from otoscope.cli.options import (
    SOURCE_HELP,
    WORKERS_HELP,
    add_shared,
    check_positive,
    import_modules,
    make_parser,
    move_to_device,
    parse,
    print_json,
)
from otoscope.cli.startup import quick_start
from otoscope.cli.threads import usable_cores
from otoscope.errors import OtoscopeError
from otoscope.methods import METHODS, UNTRAINED

if TYPE_CHECKING:
    import jsonargparse

    from otoscope.explain import Explainer
    from otoscope.recordings import Outcome


def run(arguments: list[str]) -> int:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope explain``.

    Returns:
        Exit code: 0, or 1 if some of several recordings could not be explained.

    Raises:
        OtoscopeError: An option or the model is wrong, or the only recording cannot be explained.
    """
    with quick_start() as started, AnswerLine() as line:
        return _run(parse(build_parser(), arguments), line, started)


def _run(options: jsonargparse.Namespace, line: AnswerLine, started: Callable[[], None]) -> int:
    """Run the verb with parsed options; see `run`.

    Args:
        options: Parsed options.
        line: Line of the answer on the standard output.
        started: Function to call once modules and model are loaded.
    """
    import_modules(options["import"])
    from otoscope.explain import load
    from otoscope.interpreters.progress import shown_progress
    from otoscope.recordings import (
        Outcome,
        explain_long_recordings,
        explain_recordings,
        find_recordings,
        longest_whole_s,
        split_by_length,
    )

    _check(options)
    shared = _shared_options(options)
    windowed = long_options(options)
    # Before the model is loaded, so that a wrong folder is reported at once.
    recordings = find_recordings(options.audio, options.output_folder)
    given = {name: options[name] for name in ("area", "baselines") if options[name] is not None}
    explainer = load(options.model, options.method, options.revision, **given)
    move_to_device(explainer, options.device)
    explainers = _explainers(explainer, options)
    started()
    lines: list[dict[str, Any]] = []
    on_explained = (lambda result: lines.append(result.line)) if options.json else line.complete
    # Of several recordings, each has its line when its files are there, and the progress is shown between them.
    on_answered = line.begin if not options.json and len(recordings) == 1 else None
    outcome = Outcome()
    short, long = split_by_length(recordings, explainer, windowed)
    for note in _notes(options, explainer, len(short), len(long)):
        print(f"note: {note}", file=sys.stderr)
    with shown_progress() if len(recordings) == 1 else contextlib.nullcontext():
        for target, folder in _targets(options) if short else []:
            outcome += explain_recordings(
                explainers.get(target, explainer),
                short,
                folder,
                target,
                on_explained=on_explained,
                on_answered=on_answered,
                longest_remote_s=longest_whole_s(explainer.classifier, windowed),
                **shared,
            )
    if long:
        outcome += explain_long_recordings(
            explainer, long, options.output_folder, windowed, options.skip_existing, on_explained
        )
    several = len(options.audio) > 1 or len(recordings) > 1 or Path(options.audio[0]).is_dir()
    return _report(outcome, lines, options.json, several)


def _shared_options(options: jsonargparse.Namespace) -> dict[str, Any]:
    """Return the options of `explain_recordings` that are the same for all targets.

    Raises:
        OtoscopeError: A part is unknown, or the package that a part or the backend needs is not installed.
    """
    from otoscope.recordings import HearingOptions, PictureOptions, ray_actors

    return {
        "threshold": options.threshold,
        "batch_size": options.batch_size,
        "skip_existing": options.skip_existing,
        "pictures": PictureOptions(options.axis, options.picture),
        "hearing": HearingOptions(options.channel, options.normalize),
        "workers": options.workers or usable_cores(),
        "keep": parts_of(options.keep, options.shards),
        "in_shards": options.shards,
        "backend": ray_actors(options.workers) if options.backend == "ray" else None,
    }


def _report(outcome: Outcome, lines: list[dict[str, Any]], as_json: bool, several: bool) -> int:
    """Print the results and the failures, and return the exit code.

    Raises:
        OtoscopeError: The only recording failed.
    """
    if as_json:
        # The callback receives explained recordings only.
        lines += [{"file": file, "status": "failed", "error": error} for file, error in outcome.failed.items()]
        print_json(lines)
    # Failures among several recordings are part of the result (exit code 1); a single one is an error (2).
    if several:
        print(outcome.summary(), file=sys.stderr)
    elif outcome.failed:
        raise OtoscopeError(next(iter(outcome.failed.values())))
    return 1 if outcome.failed else 0


def _check(options: jsonargparse.Namespace) -> None:
    """Raise errors of options that need neither the model nor the recordings."""
    check_positive(options, ("batch_size", "workers"))
    if options.against is not None and not options.target:
        raise OtoscopeError(f"--against {options.against}: name the labels to compare with it with --target")


def _notes(options: jsonargparse.Namespace, explainer: Explainer, short: int, long: int) -> Iterator[str]:
    """Yield what a user should know about options that have no effect, or not the whole one.

    Args:
        options: Parsed options.
        explainer: Classifier and interpreter.
        short: Number of recordings that are explained as a whole.
        long: Number of recordings that are explained window by window.
    """
    from otoscope.recordings import sharing_note

    if short > 1 and options.backend == "local":
        note = sharing_note(explainer, options.workers or 1)
        if note is not None:
            yield note
    given = {
        "--keep": options.keep,
        "--shards": options.shards,
        "--backend": options.backend != "local",
    }
    ignored = [name for name, is_given in given.items() if is_given]
    if long and ignored:
        recordings = "one recording is long and is" if long == 1 else f"{long} recordings are long and are"
        yield (
            f"{recordings} explained window by window, by this process, with all files of a long recording; "
            f"{', '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} no effect there"
        )


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope explain``."""
    parser = make_parser(
        "explain",
        "Explain recordings: sounds, pictures and numbers, in a folder for each. If several recordings or a folder "
        "are given, those that cannot be read are skipped and listed at the end, with exit code 1; manifest.jsonl "
        "in the output folder has a line for each. A single recording that cannot be read is an error, with exit "
        "code 2.",
    )
    parser.add_argument(
        "audio",
        nargs="+",
        type=str,
        help="Sound files (wav, flac, ogg, mp3, aiff and others that libsndfile reads), folders of them, or URIs "
        "such as https://..., s3://..., hf://... and dataset://OWNER/NAME?split=test; a URI of a folder ends with "
        "a slash.",
    )
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help=f"{SOURCE_HELP}, or a classifier with --method (default: the bundled model of ten everyday sounds).",
    )
    add_shared(parser, "revision")
    add_shared(parser, "output_folder", default="explanations")
    _add_options_of_explanations(parser)
    _add_options_of_the_run(parser)
    return parser


def _add_options_of_explanations(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options that decide what is explained, and how."""
    parser.add_argument(
        "--target",
        nargs="+",
        type=str,
        default=None,
        metavar="LABEL",
        help="Label to explain (default: the predicted one). Of several, each is explained in a subfolder; in a "
        "long recording, they are the events and each has sounds of its own.",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        default=None,
        metavar="LABEL",
        help="Explain why each target rather than this label, with a method that needs no training.",
    )
    parser.add_argument(
        "--threshold", type=float | None, default=None, help="Override the interpreter's threshold."
    )
    parser.add_argument(
        "--area",
        type=float | Literal["decisive", "sufficient"] | None,
        default=None,
        help="Share of the sound that a method without training keeps (default: decisive, a share that keeps the "
        "decision by itself and without which the decision is lost; sufficient: the smallest that keeps it).",
    )
    parser.add_argument(
        "--method",
        type=str | None,
        default=None,
        help=f"Method of explanation (default: that of the model); without training there are {_method_names()}.",
    )
    parser.add_argument(
        "--baselines",
        type=str | None,
        default=None,
        help="Folder, sound file, or pattern such as 'clips/1-*.wav': recordings that expected_gradients compares "
        "with (default: the sample recordings of the package).",
    )
    parser.add_argument(
        "--channel",
        type=int | None,
        default=None,
        help="Channel to explain, counted from 0 (default: the average of all channels).",
    )
    parser.add_argument(
        "--normalize",
        type=bool | None,
        default=None,
        help="Whether to scale each recording to a peak of 1 for the networks (default: as the model was trained).",
    )


def _add_options_of_the_run(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options of pictures, output and computation, which change no number."""
    parser.add_argument(
        "--axis", type=Literal["linear", "mel", "log"], default="linear", help="Frequency axis of the pictures."
    )
    parser.add_argument("--picture", type=Literal["png", "svg"], default="png", help="File format of the pictures.")
    add_shared(parser, "device")
    parser.add_argument(
        "--batch_size", type=int, default=4, help="Number of recordings that are explained at once."
    )
    parser.add_argument(
        "--skip_existing",
        action="store_true",
        help="Skip recordings that already have an explanation, to resume an interrupted run.",
    )
    add_shared(parser, "workers", help=f"{WORKERS_HELP} Long recordings are explained by one.")
    add_shared(parser, "backend")
    parser.add_argument(
        "--keep",
        nargs="+",
        type=str,
        default=None,
        metavar="PART",
        help="Parts of an explanation that are written: json (always), recording, evidence, remainder, levelled, "
        "mask, importance, picture, components (default: all but importance; in shards json, recording, evidence, "
        "remainder, mask).",
    )
    parser.add_argument(
        "--shards",
        action="store_true",
        help="Write Parquet files with a row for each recording, sounds and masks inside, instead of a folder for "
        "each; needs the extra `tables`.",
    )
    add_shared(parser, "json")
    add_shared(parser, "import")
    add_long_options(parser)


def _targets(options: Any) -> list[tuple[str | None, Path]]:
    """Return each target with the folder of its explanations; no target means the predicted label."""
    from otoscope.recordings.files import folder_name

    folder = Path(options.output_folder)
    targets = list(dict.fromkeys(options.target or [None]))
    if len(targets) == 1:
        return [(targets[0], folder)]
    return [(target, folder / folder_name(target)) for target in targets]


def _explainers(explainer: Explainer, options: Any) -> dict[str | None, Explainer]:
    """Return the explainer of each target against the label that it is compared with, if there is one."""
    if options.against is None:
        return {}
    return {target: explainer.between(target, options.against) for target in options.target}


def _method_names() -> str:
    aliases = {name: " or ".join(METHODS[name].aliases) for name in UNTRAINED}
    return ", ".join(name + (f" (or {aliases[name]})" if aliases[name] else "") for name in UNTRAINED)


def parts_of(keep: list[str] | None, in_shards: bool) -> tuple[str, ...] | None:
    """Return the parts of ``--keep``, which may also be separated by commas; None for the default.

    Raises:
        OtoscopeError: There is no such part, or shards cannot hold it or need a package that is not installed.
    """
    from otoscope.explanation.parts import PARTS, SHARD_PARTS, check_parts
    from otoscope.explanation.shard import require_pyarrow

    if in_shards:
        require_pyarrow()
    if keep is None:
        return None
    parts = [part for text in keep for part in text.split(",") if part]
    return check_parts(parts, SHARD_PARTS if in_shards else PARTS)
