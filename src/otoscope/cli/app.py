"""``otoscope app``: explanations in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otoscope.allocator import share_freed_memory
from otoscope.cli.options import SOURCE_HELP, add_shared, import_modules, make_parser, move_to_device, parse
from otoscope.errors import ConfigurationError

if TYPE_CHECKING:
    import jsonargparse


def run(arguments: list[str]) -> int:
    """Run the verb, until the process is stopped.

    Args:
        arguments: Command line after ``otoscope app``.

    Returns:
        Exit code.

    Raises:
        OtoscopeError: An option or a model is wrong, or Gradio is not installed.
    """
    options = parse(build_parser(), arguments)
    if options.review_file is not None and options.review is None:
        raise ConfigurationError(f"--review_file {options.review_file}: needs --review, the folder to review")
    share_freed_memory()
    from otoscope.app.limits import Limits

    limits = Limits(options.max_upload_mb, options.max_duration_s, options.queue, options.keep_min)
    import_modules(options["import"])
    from otoscope.app.explaining import AppModel, model_title
    from otoscope.app.server import prepare_gradio, serve
    from otoscope.explain import load

    prepare_gradio()
    sources = [(options.model, options.revision, options.method)]
    if options.second_model is not None:
        sources.append((options.second_model, None, None))
    models = []
    for source, revision, method in sources:
        explainer = load(source, method, revision)
        move_to_device(explainer, options.device)
        models.append(AppModel(explainer, model_title(source)))
    serve(
        models,
        limits,
        options.host,
        options.port,
        options.review,
        None if options.review_file is None else Path(options.review_file),
        _announce,
    )
    return 0


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope app``."""
    parser = make_parser(
        "app",
        "Explain recordings in the browser: upload or record a sound, choose class and method, look and listen, "
        "download. Models are chosen here and never by visitors. Needs the extra `app`. Ctrl-C ends it.",
    )
    parser.add_argument(
        "--model",
        type=str | None,
        default=None,
        help=f"{SOURCE_HELP} (default: the bundled model of ten everyday sounds).",
    )
    add_shared(parser, "revision")
    parser.add_argument(
        "--second_model",
        type=str | None,
        default=None,
        help="Another model, from the same kinds of sources: a tab explains one recording with both, side by side.",
    )
    parser.add_argument(
        "--method", type=str | None, default=None, help="Method that is preselected (default: that of the model)."
    )
    parser.add_argument(
        "--review",
        type=str | None,
        default=None,
        metavar="FOLDER",
        help="Folder of explanations: a tab shows them one by one to be judged right, wrong or unsure.",
    )
    parser.add_argument(
        "--review_file",
        type=str | None,
        default=None,
        help="CSV file that is written after each judgement, and resumed from if it exists (default: the table is "
        "kept until the app ends, and can be downloaded).",
    )
    _add_options_of_the_server(parser)
    add_shared(parser, "device")
    add_shared(parser, "import")
    return parser


def _add_options_of_the_server(parser: jsonargparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="Address to listen on; 0.0.0.0 lets other machines in, without any password.",
    )
    parser.add_argument("--port", type=int, default=7860, help="Port to listen on; 0: any that is free.")
    parser.add_argument("--max_upload_mb", type=float, default=50.0, help="Largest file that is accepted, in MB.")
    parser.add_argument(
        "--max_duration_s",
        type=float,
        default=60.0,
        help="Longest recording that is accepted, in seconds; at most 120.",
    )
    parser.add_argument("--queue", type=int, default=50, help="Number of requests that may wait.")
    parser.add_argument(
        "--keep_min", type=float, default=60.0, help="Minutes after which recordings and results are removed."
    )


def _announce(address: str) -> None:
    print(f"Open {address} in a browser; Ctrl-C ends the app.", flush=True)
