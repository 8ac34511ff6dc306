"""The command line. Each verb loads what it needs when it runs, so that ``--help`` is immediate."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import OtoscopeError
from otoscope.options import IMPORT_HELP, complaint, import_modules, make_parser, parse

if TYPE_CHECKING:
    from otoscope.explanation import Explanation

_SOURCE_HELP = "Model folder, owner/name on the Hugging Face hub, SpeechBrain's model folder or training results"
_REVISION_HELP = "Branch, tag or commit on the hub."
# as otoscope.interpreters.UNTRAINED has them, which takes seconds to import
_UNTRAINED = (
    "amt, grad_cam, gradient_shap, guided_backprop, guided_grad_cam, input_x_gradient, integrated_gradients, "
    "occlusion, optimised_mask, refined, rise, saliency, slime (or lime), smoothgrad"
)
USAGE = """\
usage: otoscope VERB [options]

Explains audio classifiers in sound.

verbs:
  demo     the whole story on synthetic sounds: train, explain, score (about two minutes, no network)
  train    train a classifier or an interpreter:  otoscope train HPARAMS.yaml --data_folder DIR
  explain  explain recordings:                    otoscope explain CLIP.wav --model DIR --out DIR
  evaluate compare methods of explanation:        otoscope evaluate HPARAMS.yaml --data_folder DIR
  convert  a SpeechBrain checkpoint to ours:      otoscope convert SRC OUT

`otoscope VERB --help` lists the options of a verb.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Args:
        arguments: The command line without the program's name; by default the process's.

    Returns:
        Exit code: 0; 1 where some of many recordings could not be explained; or 2 for an error that the user can
        mend, told in one line.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import otoscope

        print(f"otoscope {otoscope.__version__}")
        return 0
    verbs: dict[str, Callable[[list[str]], int | None]] = {
        "demo": _demo,
        "train": _train,
        "explain": _explain,
        "evaluate": _evaluate,
        "convert": _convert,
    }
    verb = verbs.get(arguments[0])
    if verb is None:
        return _fail(f"otoscope: there is no verb {arguments[0]!r}; choose one of {', '.join(verbs)}")
    try:
        code = verb(arguments[1:])
    except OtoscopeError as error:
        return _fail(f"otoscope {arguments[0]}: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        return _fail(f"otoscope {arguments[0]}: {error.filename or 'a file'}: cannot be written ({error.strerror})")
    except KeyboardInterrupt:
        return _fail(f"otoscope {arguments[0]}: stopped by the keyboard")
    return code or 0


def _fail(message: str) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return 2


def _train(arguments: list[str]) -> None:
    from otoscope.memory import keep_freed_memory

    keep_freed_memory()
    from otoscope.training.command import train

    train(arguments)


def _evaluate(arguments: list[str]) -> None:
    from otoscope.memory import keep_freed_memory

    keep_freed_memory()
    from otoscope.evaluation.command import evaluate

    evaluate(arguments)


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


def _explain_options(arguments: list[str]) -> Any:
    parser = make_parser(
        "explain",
        "Explains recordings: sounds, pictures and numbers, a folder for each. Of several recordings, or a folder "
        "of them, those that cannot be read are passed over and listed at the end, with exit code 1; "
        "manifest.jsonl in the output folder has a line for each. A single one that cannot be read "
        "is an error, with exit code 2.",
    )
    parser.add_argument("audio", nargs="+", type=str, help="Sound files (wav, flac, ogg, mp3) or folders of them.")
    parser.add_argument("--model", type=str, required=True, help=f"{_SOURCE_HELP}, or a classifier with --method.")
    parser.add_argument("--revision", type=str | None, default=None, help=_REVISION_HELP)
    parser.add_argument("--out", type=str, default="explanations", help="Folder for the results.")
    parser.add_argument("--target", type=str | None, default=None, help="Explain this label, not the predicted.")
    parser.add_argument("--threshold", type=float | None, default=None, help="Instead of the interpreter's own.")
    parser.add_argument(
        "--method",
        type=str | None,
        default=None,
        help=f"The model's own by default; or one that needs no training: {_UNTRAINED}.",
    )
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps.")
    parser.add_argument("--batch_size", type=int, default=4, help="Recordings in one run of the networks.")
    parser.add_argument(
        "--skip-existing", action="store_true", help="Leave recordings that were explained: goes on after a stop."
    )
    parser.add_argument("--json", action="store_true", help="Print the results as JSON.")
    parser.add_argument("--import", type=str, action="append", default=[], help=IMPORT_HELP)
    return parse(parser, arguments)


def _explain(arguments: list[str]) -> int:
    options = _explain_options(arguments)
    import_modules(options["import"])
    from otoscope.bulk import explain_recordings, find_recordings
    from otoscope.explain import load

    if options.batch_size < 1:
        raise OtoscopeError(f"--batch_size {options.batch_size}: must be positive")
    recordings = find_recordings(options.audio)
    explainer = load(options.model, options.method, options.revision)
    try:
        explainer.to(options.device)
    except (RuntimeError, AssertionError) as error:  # the second where torch is built without it
        raise OtoscopeError(f"--device {options.device}: cannot be used ({complaint(str(error))})") from error
    results: list[dict[str, Any]] = []

    def tell(explanation: Explanation, line: dict[str, Any]) -> None:
        if options.json:
            results.append(line)
        else:
            notes = (f"({note})" for note in explanation.notes)
            print(explanation.summary(), *notes, f"-> {line['folder']}", flush=True)

    single = len(options.audio) == 1 and not Path(options.audio[0]).is_dir()
    outcome = explain_recordings(
        explainer,
        recordings,
        options.out,
        options.target,
        options.threshold,
        options.batch_size,
        options.skip_existing,
        tell,
    )
    if options.json:
        results += [{"file": file, "status": "failed", "error": error} for file, error in outcome.failed.items()]
        print(json.dumps(results, indent=2, ensure_ascii=False))
    if single and outcome.failed:
        raise OtoscopeError(next(iter(outcome.failed.values())))
    if not single:
        print(outcome.summary(), file=sys.stderr)
    return 1 if outcome.failed else 0


def _convert(arguments: list[str]) -> None:
    parser = make_parser("convert", "Makes a model folder of ours from a model of SpeechBrain's, or from the hub.")
    parser.add_argument("source", type=str, help=_SOURCE_HELP)
    parser.add_argument("out", type=str, help="Folder for the model; one that holds a model is replaced.")
    parser.add_argument("--revision", type=str | None, default=None, help=_REVISION_HELP)
    parser.add_argument("--license", type=str | None, default=None, help="For the card, such as apache-2.0.")
    options = parse(parser, arguments)
    from otoscope.conversion import convert

    details = {} if options.license is None else {"license": options.license}
    print(f"{options.source} -> {convert(options.source, options.out, options.revision, **details)}")


if __name__ == "__main__":
    sys.exit(main())
