"""``otoscope audit``: what a classifier listens to over a data set, and whether it cheats."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otoscope.cli.audit_evidence import add_evidence, add_evidence_options, check_method, write_audit_report
from otoscope.cli.options import (
    DEFAULT_SEED,
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
from otoscope.cli.threads import usable_cores
from otoscope.errors import ConfigurationError

if TYPE_CHECKING:
    import jsonargparse

    from otoscope.audit import AuditResult
    from otoscope.audit.compare import Comparison
    from otoscope.audit.own import Suspicion
    from otoscope.audit.settings import AuditSettings
    from otoscope.classifiers import Classifier

_QUICK_CLIPS, _CLIPS = 8, 40
_MODEL_FILES = ("config.json", "hyperparams.yaml", "hyperparams.yml")


def run(arguments: list[str]) -> int:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope audit``.

    Returns:
        Exit code: 0, or 1 if ``--fail_on`` names what was found.

    Raises:
        OtoscopeError: An option, the model or the data is wrong.
    """
    options = parse(build_parser(), arguments)
    import_modules(options["import"])
    _check(options)
    settings = _settings(options)
    classifier = _load(options.model, options)
    check_method(classifier, options)
    suspicions = _suspicions(options, classifier)
    clips = _clips(options.data_folder, classifier, options)
    shared: dict[str, Any] = {
        "settings": settings,
        "workers": options.workers or usable_cores(),
        "progress": not options.json,
    }
    with _backend(options) as backend:
        return _audited(options, classifier, clips, suspicions, {**shared, "backend": backend})


def _audited(
    options: Any, classifier: Classifier, clips: Any, suspicions: list[Suspicion], shared: dict[str, Any]
) -> int:
    """Audit, or compare two audits; print the result, and return the exit code."""
    from otoscope.audit.run import AuditInput, print_cost, run_audit

    folder = Path(options.output_folder)
    if options.against is None:
        result = run_audit(
            classifier,
            clips.clips,
            clips.labels,
            folder,
            suspicions=suspicions,
            on_cost=print_cost,
            conditions={"model": str(options.model), "data_folder": str(options.data_folder)},
            **shared,
        )
        result = add_evidence(result, AuditInput(classifier, clips.clips, clips.labels), options)
        write_audit_report(folder, options)
        _print(result, options.json)
        return _exit_code([result], options.fail_on)
    comparison = _compared(options, classifier, clips, suspicions, shared)
    comparison.save(folder)
    write_audit_report(folder, options)
    _print_comparison(comparison, options.json)
    return _exit_code([comparison.first, comparison.second], options.fail_on)


def _backend(options: Any) -> contextlib.AbstractContextManager[Any]:
    """Return a context with the cluster, or with None for processes of this machine."""
    if options.backend == "local":
        return contextlib.nullcontext()
    from otoscope.audit.ray_answers import RayAnswers

    return RayAnswers(options.workers)


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope audit``."""
    parser = make_parser(
        "audit",
        "Find out what a classifier listens to over a data set. Candidate cues (narrow bands, hum, infrasound, "
        "clicks, begin and end of the clip, edges of the band, silence) are removed from the clips of each class "
        "and transplanted into clips of other classes. A cue is called a shortcut if both change the decisions, on "
        "recordings that did not suggest it. The classifier may be a black box. A stopped run resumes.",
    )
    parser.add_argument("--model", type=str, required=True, help=f"{SOURCE_HELP}.")
    add_shared(parser, "revision")
    parser.add_argument(
        "--data_folder",
        type=str,
        required=True,
        help="Labelled recordings: folders named after classes, a table, or the layout of ESC-50. Classes that the "
        "classifier does not know are left out.",
    )
    parser.add_argument("--csv_file", type=str | None, default=None, help="Table that lists the recordings.")
    parser.add_argument(
        "--folds",
        type=int,
        nargs="+",
        default=None,
        help="Folds of the table to audit (default: all).",
    )
    parser.add_argument(
        "--annotations",
        type=str | None,
        default=None,
        help="Table of annotated events (Raven, Audacity, CSV): recordings are cut into clips that have events.",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        default=None,
        help="Another model, or another data folder, to compare with: the suspects of each are tested on both.",
    )
    add_shared(parser, "output_folder", default="audit")
    _add_suspicions(parser)
    _add_run_options(parser)
    add_evidence_options(parser)
    return parser


def _add_suspicions(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options for suspicions of the user."""
    parser.add_argument(
        "--cue", type=str, nargs="+", default=[], help="Sound files of cues of your own, such as a hum."
    )
    parser.add_argument(
        "--cue_level_db",
        type=float,
        default=-20.0,
        help="Level at which they are added to other clips, over that of the clip.",
    )
    parser.add_argument(
        "--band_hz", type=float, nargs=2, default=None, metavar=("LOW", "HIGH"), help="Band to test."
    )
    parser.add_argument(
        "--segment_s",
        type=float,
        nargs=2,
        default=None,
        metavar=("START", "END"),
        help="Part of the clip to test, such as 0 0.2; negative times count from its end.",
    )
    parser.add_argument(
        "--function",
        type=str | None,
        default=None,
        help="Function of yours that removes a cue from a waveform: module:name, also in the current folder.",
    )


def _add_run_options(parser: jsonargparse.ArgumentParser) -> None:
    """Add the options that decide how much is done, and what is reported."""
    parser.add_argument(
        "--quick", action="store_true", help="Fewer clips and candidates: about two minutes for 80 clips."
    )
    parser.add_argument(
        "--clips_per_class",
        type=int | None,
        default=None,
        help=f"Largest number of clips of each class (default: {_CLIPS}, {_QUICK_CLIPS} with --quick).",
    )
    parser.add_argument(
        "--fail_on",
        type=Literal["shortcut", "unclear"] | None,
        default=None,
        help="Exit with code 1 if there is a shortcut, or also if a suspect is unclear, for automatic checks.",
    )
    add_shared(parser, "backend")
    add_shared(parser, "workers", help=WORKERS_HELP)
    add_shared(parser, "device")
    add_shared(parser, "seed", default=DEFAULT_SEED)
    add_shared(parser, "import")
    add_shared(parser, "json")


def _check(options: Any) -> None:
    """Raise errors of options that need neither the model nor the recordings."""
    check_positive(options, ("workers",))
    if not Path(options.data_folder).exists():
        raise ConfigurationError(f"--data_folder {options.data_folder}: does not exist")
    for path in options.cue:
        if not Path(path).is_file():
            raise ConfigurationError(f"--cue {path}: is no file")


def _settings(options: Any) -> AuditSettings:
    from otoscope.audit.settings import AuditSettings

    per_class = options.clips_per_class or (_QUICK_CLIPS if options.quick else _CLIPS)
    return AuditSettings(clips_per_class=per_class, quick=options.quick, seed=options.seed)


def _load(source: str, options: Any) -> Classifier:
    from otoscope.loading import load_classifier

    classifier = load_classifier(source, options.revision)
    move_to_device(classifier, options.device)
    return classifier


def _clips(data_folder: str, classifier: Classifier, options: Any) -> Any:
    from otoscope.audit.data import read_clips

    rate_hz = classifier.frontend.sample_rate_hz
    return read_clips(
        data_folder,
        rate_hz,
        options.csv_file,
        options.folds,
        options.annotations,
        classifier.clip_s,
        progress=not options.json,
    )


def _suspicions(options: Any, classifier: Classifier) -> list[Suspicion]:
    """Return the suspicions of the user."""
    from otoscope.audit.own import SoundCue, Suspicion, band_suspicion, function_suspicion, segment_suspicion

    rate_hz = classifier.frontend.sample_rate_hz
    suspicions = [Suspicion(SoundCue(path, rate_hz, options.cue_level_db)) for path in options.cue]
    if options.band_hz is not None:
        suspicions.append(band_suspicion(options.band_hz[0], options.band_hz[1], rate_hz))
    if options.segment_s is not None:
        suspicions.append(segment_suspicion(options.segment_s[0], options.segment_s[1]))
    if options.function is not None:
        suspicions.append(function_suspicion(options.function))
    return suspicions


def _compared(
    options: Any, classifier: Classifier, clips: Any, suspicions: list[Suspicion], shared: dict[str, Any]
) -> Comparison:
    """Return the comparison with another model, or with another data folder."""
    from otoscope.audit.compare import run_comparison
    from otoscope.audit.run import AuditInput

    is_data = _is_data(Path(options.against))
    other = classifier if is_data else _load(options.against, options)
    same_rate = other.frontend.sample_rate_hz == classifier.frontend.sample_rate_hz
    data_folder = options.against if is_data else options.data_folder
    other_clips = clips if same_rate and not is_data else _clips(data_folder, other, options)
    models = str(options.model), str(options.model if is_data else options.against)
    data = str(options.data_folder), str(data_folder)
    inputs = (
        AuditInput(classifier, clips.clips, clips.labels, {"model": models[0], "data_folder": data[0]}),
        AuditInput(other, other_clips.clips, other_clips.labels, {"model": models[1], "data_folder": data[1]}),
    )
    names = (Path(data[0]).name, Path(data[1]).name) if is_data else (Path(models[0]).name, Path(models[1]).name)
    if names[0] == names[1]:
        names = (data[0], data[1]) if is_data else models
    comparison = run_comparison(inputs, names, Path(options.output_folder), suspicions, **shared)
    return replace(
        comparison,
        first=add_evidence(comparison.first, inputs[0], options),
        second=add_evidence(comparison.second, inputs[1], options),
    )


def _is_data(path: Path) -> bool:
    """Return whether a path is a data folder and not a model."""
    return path.is_dir() and not any((path / name).is_file() for name in _MODEL_FILES)


def _print(result: AuditResult, as_json: bool) -> None:
    if as_json:
        print_json(result.to_dict())
        return
    from otoscope.audit.text import summary

    print(summary(result))
    names = ("report.html", "audit.json", "sounds", "examples")
    written = [name for name in names if result.folder is not None and (result.folder / name).exists()]
    print(f"\nresult in {result.folder} ({', '.join(written)})")


def _print_comparison(comparison: Comparison, as_json: bool) -> None:
    if as_json:
        print_json(comparison.to_dict())
        return
    for row in comparison.suspects:
        print(f"{row.change}: {row.sentence}")
    if not comparison.suspects:
        print("no suspects in either")
    print(f"\nresults in {comparison.first.folder} and {comparison.second.folder}", file=sys.stderr)


def _exit_code(results: list[AuditResult], fail_on: str | None) -> int:
    """Return 1 if a result has what the user asked to fail on."""
    if fail_on is None:
        return 0
    failing = ("shortcut",) if fail_on == "shortcut" else ("shortcut", "unclear")
    return int(any(suspect.verdict in failing for result in results for suspect in result.suspects))
