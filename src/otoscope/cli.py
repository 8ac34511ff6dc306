"""The command line. Each verb loads what it needs when it runs, so that ``--help`` is immediate."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.errors import OtoscopeError
from otoscope.options import IMPORT_HELP, complaint, import_modules, make_parser, parse

if TYPE_CHECKING:
    pass

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


def _train(arguments: list[str]) -> None:
    from otoscope.memory import keep_freed_memory

    keep_freed_memory()
    from otoscope.training.command import train

    train(arguments)


def _demo(arguments: list[str]) -> None:
    from otoscope.memory import keep_freed_memory

    parser = make_parser("demo", "Trains on synthetic sounds with known ground truth and explains held-out ones.")
    parser.add_argument("--out", type=str, default="otoscope-demo", help="Folder for everything it writes.")
    parser.add_argument("--seed", type=int, default=0, help="Makes the sounds and the training.")
    parser.add_argument("--clips", type=int, default=8, help="Held-out clips to explain.")
    options = parse(parser, arguments)
    keep_freed_memory()
    from otoscope.demo import run_demo

    run_demo(Path(options.out), options.seed, options.clips)


def _explain(arguments: list[str]) -> None:
    parser = make_parser("explain", "Explains recordings: sounds, pictures and numbers, a folder for each.")
    parser.add_argument("audio", nargs="+", type=str, help="Sound files (wav, flac, ogg, mp3).")
    parser.add_argument("--model", type=str, required=True, help="Model folder of an interpreter or classifier.")
    parser.add_argument("--out", type=str, default="explanations", help="Folder for the results.")
    parser.add_argument("--target", type=str | None, default=None, help="Explain this label, not the predicted.")
    parser.add_argument("--threshold", type=float | None, default=None, help="Instead of the interpreter's own.")
    parser.add_argument(
        "--method", type=str | None, default=None, help="The model's own by default; or one that needs no training."
    )
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps.")
    parser.add_argument("--json", action="store_true", help="Print the results as JSON.")
    parser.add_argument("--import", type=str, action="append", default=[], help=IMPORT_HELP)
    options = parse(parser, arguments)
    import_modules(options["import"])
    from otoscope.explain import load

    explainer = load(options.model, options.method)
    try:
        explainer.to(options.device)
    except (RuntimeError, AssertionError) as error:  # the second where torch is built without it
        raise OtoscopeError(f"--device {options.device}: cannot be used ({complaint(str(error))})") from error
    results = []
    for path, name in zip(options.audio, _different_names(options.audio), strict=True):
        explanation = explainer.explain(path, options.target, name=name, threshold=options.threshold)
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


if __name__ == "__main__":
    sys.exit(main())
