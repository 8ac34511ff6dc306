"""The command line. Each verb loads what it needs when it runs, so that ``--help`` is immediate."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import OtoscopeError

if TYPE_CHECKING:
    import jsonargparse

_LONGEST_COMPLAINT = 400
USAGE = """\
usage: otoscope VERB [options]

Explains audio classifiers in sound.

verbs:
  demo     the whole story on synthetic sounds: train, explain, score (about two minutes, no network)
  train    train a classifier or an interpreter:  otoscope train HPARAMS.yaml --data_folder DIR
  explain  explain recordings:                    otoscope explain CLIP.wav --model DIR --out DIR

`otoscope VERB --help` lists the options of a verb.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Args:
        arguments: The command line without the program's name; by default the process's.

    Returns:
        Exit code: 0, or 2 for an error that the user can mend, told in one line.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import otoscope

        print(f"otoscope {otoscope.__version__}")
        return 0
    verbs: dict[str, Callable[[list[str]], None]] = {"demo": _demo, "train": _train, "explain": _explain}
    verb = verbs.get(arguments[0])
    if verb is None:
        return _fail(f"otoscope: there is no verb {arguments[0]!r}; choose one of {', '.join(verbs)}")
    try:
        verb(arguments[1:])
    except OtoscopeError as error:
        return _fail(f"otoscope {arguments[0]}: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        return _fail(f"otoscope {arguments[0]}: {error.filename or 'a file'}: cannot be written ({error.strerror})")
    except KeyboardInterrupt:
        return _fail(f"otoscope {arguments[0]}: stopped by the keyboard")
    return 0


def _fail(message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return 2


def _parser(verb: str, description: str) -> jsonargparse.ArgumentParser:
    import jsonargparse

    parser = jsonargparse.ArgumentParser(
        prog=f"otoscope {verb}", description=description, exit_on_error=False, default_env=False, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="YAML file with options.")
    return parser


def _parse(parser: jsonargparse.ArgumentParser, arguments: list[str]) -> Any:
    """Parses, and makes of every complaint one line that names the option."""
    import argparse

    import jsonargparse

    try:
        return parser.parse_args(arguments)
    except (argparse.ArgumentError, jsonargparse.ArgumentError) as error:
        raise OtoscopeError(f"{_complaint(str(error), arguments)} (see {parser.prog} --help)") from error


def _complaint(message: str, arguments: Sequence[str] = ()) -> str:
    """The heart of jsonargparse's message, which for nested options is wrapped in every type it tried."""
    if unknown := re.findall(r"Option '([^']+)' is not accepted", message):
        name = unknown[-1]
        given = [a.split("=")[0] for a in arguments]
        given = [a for a in given if a.startswith("--") and a.rsplit(".", 1)[-1] == name]
        return f"there is no option {given[0] if given else repr(name)}"
    if wrong := re.findall(r'Parser key "([^"]+)":\s+(Expected [^.]+\.\s+Got value: [^\n.]+)', message):
        name, text = wrong[-1]
        return f"{name}: {' '.join(text.split())}"
    text = " ".join(message.split())
    return text if len(text) <= _LONGEST_COMPLAINT else text[:_LONGEST_COMPLAINT] + " ..."


def _demo(arguments: list[str]) -> None:
    from otoscope.memory import keep_freed_memory

    parser = _parser("demo", "Trains on synthetic sounds with known ground truth and explains held-out ones.")
    parser.add_argument("--out", type=str, default="otoscope-demo", help="Folder for everything it writes.")
    parser.add_argument("--seed", type=int, default=0, help="Makes the sounds and the training.")
    parser.add_argument("--clips", type=int, default=8, help="Held-out clips to explain.")
    options = _parse(parser, arguments)
    keep_freed_memory()
    from otoscope.demo import run_demo

    run_demo(Path(options.out), options.seed, options.clips)


def _explain(arguments: list[str]) -> None:
    parser = _parser("explain", "Explains recordings: sounds, pictures and numbers, a folder for each.")
    parser.add_argument("audio", nargs="+", type=str, help="Sound files (wav, flac, ogg, mp3).")
    parser.add_argument("--model", type=str, required=True, help="Model folder of a trained interpreter.")
    parser.add_argument("--out", type=str, default="explanations", help="Folder for the results.")
    parser.add_argument("--target", type=str | None, default=None, help="Explain this label, not the predicted.")
    parser.add_argument("--method", type=str | None, default=None, help="Check that the model is of this method.")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps.")
    parser.add_argument("--json", action="store_true", help="Print the results as JSON.")
    options = _parse(parser, arguments)
    from otoscope.explain import load

    explainer = load(options.model)
    try:
        explainer.to(options.device)
    except (RuntimeError, AssertionError) as error:  # the second where torch is built without it
        raise OtoscopeError(f"--device {options.device}: cannot be used ({_complaint(str(error))})") from error
    if options.method and options.method.lower() != explainer.method.lower():
        raise OtoscopeError(f"--method {options.method}: {options.model} holds {explainer.method}")
    results = []
    for path, name in zip(options.audio, _different_names(options.audio), strict=True):
        explanation = explainer.explain(path, options.target, name=name)
        folder = explanation.save(Path(options.out) / name)
        results.append({**explanation.to_dict(), "folder": str(folder)})
        if not options.json:
            print(explanation.summary(), *(f"({note})" for note in explanation.notes), f"-> {folder}")
    if options.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))


def _different_names(paths: Sequence[str]) -> list[str]:
    """File names without endings, with a number behind those that occur again."""
    names: list[str] = []
    for stem in (Path(path).stem for path in paths):
        again = sum(Path(path).stem == stem for path in paths[: len(names)])
        names.append(f"{stem}-{again + 1}" if again else stem)
    return names


def _train(arguments: list[str]) -> None:
    from otoscope.memory import keep_freed_memory

    keep_freed_memory()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        parser = _training_parser()
        arguments = _with_shorthands(arguments)
        options = _parse(parser, arguments)
        _share_seed(options)
        try:
            objects = parser.instantiate_classes(options)
        except (ValueError, TypeError) as error:
            raise OtoscopeError(_complaint(str(error))) from error
    from otoscope.training.callbacks import SaveInterpretations
    from otoscope.training.run import run_training

    folder = Path(options.output_folder or _default_output(options))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OtoscopeError(f"--output_folder {folder}: cannot be written ({error})") from error
    interpretations = None
    if options.interpretations.clips > 0:
        interpretations = SaveInterpretations(folder / "interpretations", **options.interpretations.as_dict())
    trainer = dict(objects.trainer)
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    # with --json nothing else may go to the output, and Lightning's progress bars would
    output = contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext()
    try:
        with output:
            results = run_training(objects.model, objects.data, folder, trainer, options.test_only, interpretations)
    except MisconfigurationException as error:
        raise OtoscopeError(_complaint(str(error))) from error
    if not options.test_only:
        parser.save(options, folder / "hparams.yaml", overwrite=True, multifile=False, skip_validation=True)
    _print_results(results, folder, options.json)


def _training_parser() -> jsonargparse.ArgumentParser:
    import lightning

    from otoscope.data import SoundData
    from otoscope.training import SaveInterpretations, TrainingTask

    parser = _parser(
        "train",
        "Trains what HPARAMS.yaml says: `otoscope train HPARAMS.yaml --data_folder DIR [--test_only] [overrides]`. "
        "Overrides are dotted, such as --model.use_vq false or --trainer.max_epochs 5.",
    )
    parser.add_argument("--output_folder", type=str | None, default=None, help="By default results/<name>/<seed>.")
    parser.add_argument("--seed", type=int, default=1234, help="Of everything random.")
    parser.add_argument("--test_only", action="store_true", help="Evaluate the best checkpoint only.")
    parser.add_argument("--json", action="store_true", help="Print the results as JSON.")
    parser.add_subclass_arguments(TrainingTask, "model", required=True)
    parser.add_subclass_arguments(SoundData, "data", required=True)
    skip = {"default_root_dir"}
    parser.add_class_arguments(lightning.Trainer, "trainer", skip=skip, instantiate=False)
    parser.add_class_arguments(SaveInterpretations, "interpretations", skip={"folder"}, instantiate=False)
    return parser


def _with_shorthands(arguments: list[str]) -> list[str]:
    """``HPARAMS.yaml`` becomes ``--config``, ``--data_folder`` an option of the data set."""
    if arguments and not arguments[0].startswith("-"):
        if not Path(arguments[0]).is_file():
            raise OtoscopeError(f"{arguments[0]}: no such hyperparameter file; check the current folder")
        arguments = ["--config", arguments[0], *arguments[1:]]
    short, long = "--data_folder", "--data.init_args.data_folder"
    return [long + a[len(short) :] if a == short or a.startswith(short + "=") else a for a in arguments]


def _share_seed(options: Any) -> None:
    for part in ("model", "data"):
        if "seed" in options[part].init_args:
            options[part].init_args.seed = options.seed


def _default_output(options: Any) -> str:
    config = [str(path) for path in (options.config or [])]
    name = Path(config[0]).stem if config else options.model.class_path.rsplit(".", 1)[-1].lower()
    return f"results/{name}/{options.seed}"


def _print_results(results: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        from otoscope.explain import json_values

        print(json.dumps(json_values(results), indent=2))
        return
    from otoscope.scoring import format_table

    if "scores" in results:
        print(format_table(results["scores"]))
    if "accuracy" in results:
        for label, value in results["accuracy_per_class"].items():
            print(f"  {label:<24}" + ("-" if value is None else f"{100 * value:6.1f} %"))
        print(f"test accuracy {100 * results['accuracy']:.1f} % of {results['clips']} clips")
    print(f"results in {folder} (model, test.json, checkpoints)")


if __name__ == "__main__":
    sys.exit(main())
