"""``otoscope convert``: save a model of any supported source as a model folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.cli.options import SOURCE_HELP, add_shared, make_parser, parse, print_json

if TYPE_CHECKING:
    import jsonargparse


def run(arguments: list[str]) -> None:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope convert``.

    Raises:
        OtoscopeError: The model cannot be opened, or the folder cannot be written.
    """
    options = parse(build_parser(), arguments)
    details = {} if options.license is None else {"license": options.license}
    folder = convert(options.source, options.output_folder, options.revision, **details)
    if options.json:
        print_json({"source": options.source, "output_folder": str(folder)})
    else:
        print(f"{options.source} -> {folder}")


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope convert``."""
    parser = make_parser("convert", "Save a model of SpeechBrain, or from the hub, as a model folder of Otoscope.")
    parser.add_argument("source", type=str, help=f"{SOURCE_HELP}.")
    parser.add_argument("output_folder", type=str, help="Folder for the model; a model in it is replaced.")
    add_shared(parser, "revision")
    parser.add_argument(
        "--license", type=str | None, default=None, help="Licence for the model card, such as apache-2.0."
    )
    add_shared(parser, "json")
    return parser


def convert(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], revision: str | None = None, **details: Any
) -> Path:
    """Open a model and save it as a model folder.

    Args:
        source: Anything that `otoscope.load` opens, also ``owner/name`` on the hub and SpeechBrain's folders: an
            interpreter with its classifier, a classifier, or a dictionary.
        folder: Folder to write; replaced as a whole if it exists.
        revision: Branch, tag or commit on the hub.
        **details: Entries for configuration and model card, see `Shareable.save_pretrained`.

    Raises:
        CheckpointError: There is no such model, it does not fit, or the folder cannot be written.
        DownloadError: It cannot be fetched.
    """
    from otoscope.explain import Explainer
    from otoscope.loading import load_model
    from otoscope.nn import NMFDictionary

    model = load_model(source, revision)
    if isinstance(model, NMFDictionary):
        return model.save(folder, **details)
    if isinstance(model, tuple):
        interpreter, classifier = model
        return Explainer(classifier, interpreter).save_pretrained(folder, **details)
    return model.save_pretrained(folder, **details)
