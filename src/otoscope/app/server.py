"""Server of the app: its private folder, Gradio behind the guard, and the end of it all."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from otoscope.app.explaining import AppModel
from otoscope.app.guard import Guard
from otoscope.app.interface import Setting, make_interface, require_gradio
from otoscope.app.limits import UPLOADS, Limits
from otoscope.app.reviewing import ReviewTab
from otoscope.app.shelf import Cleaner, Shelf
from otoscope.errors import ConfigurationError

_RESULTS = "results"
_SHUTDOWN_S = 2
_WAITING_CONNECTIONS = 2048
"""Connections that wait to be accepted, as many as uvicorn allows."""


def prepare_gradio() -> Any:
    """Set what Gradio reads from the environment, and import it.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Relative, so that no answer states a path of the server.
    os.environ["GRADIO_TEMP_DIR"] = UPLOADS
    return require_gradio()


def serve(
    models: list[AppModel],
    limits: Limits,
    host: str = "127.0.0.1",
    port: int = 7860,
    review: str | None = None,
    review_file: Path | None = None,
    on_start: Callable[[str], None] = print,
) -> None:
    """Serve the app until the process is stopped; its uploads and results are removed at the end.

    Args:
        models: One or two models.
        limits: Limits of uploads.
        host: Address that the server listens on.
        port: Port; 0: any that is free.
        review: Folder of explanations to review (default: no review).
        review_file: CSV file of the review.
        on_start: Function that is given the address of the app.

    Raises:
        MissingExtraError: Gradio is not installed.
        ConfigurationError: The port cannot be used.
        OtoscopeError: The explanations to review cannot be read.
    """
    prepare_gradio()
    import uvicorn

    review = None if review is None else str(Path(review).absolute())
    review_file = None if review_file is None else review_file.absolute()
    listening = listen(host, port)
    with contextlib.closing(listening), _private_folder() as folder:
        keep_s = limits.keep_min * 60
        shelf = Shelf(folder / _RESULTS, keep_s)
        tab = None if review is None else ReviewTab(review, shelf, review_file)
        app = make_app(Setting(models, limits, shelf, tab), folder / UPLOADS, host)
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_S, server_header=False, lifespan="on"
        )
        cleaner = Cleaner([folder / _RESULTS, folder / UPLOADS], keep_s)
        cleaner.start()
        gc.freeze()  # what is there now stays: the collections after each request pass over it
        try:
            on_start(address_of(host, listening.getsockname()[1]))
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            cleaner.stop()


def make_app(setting: Setting, uploads: Path, host: str) -> Any:
    """Return the app as an ASGI application.

    Args:
        setting: What the app was started with.
        uploads: Folder of the uploads.
        host: Address that the server listens on.
    """
    gr = prepare_gradio()
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    blocks = make_interface(setting)
    blocks.queue(max_size=setting.limits.queue, default_concurrency_limit=1)
    assets = files("otoscope.app") / "assets"
    inner = gr.mount_gradio_app(
        FastAPI(openapi_url=None, docs_url=None, redoc_url=None),
        blocks,
        path="/",
        show_error=False,
        max_file_size=setting.limits.upload_bytes,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        pwa=False,
        theme=_theme(gr),
        css=(assets / "app.css").read_text(encoding="utf-8"),
        head=f"<script>{(assets / 'app.js').read_text(encoding='utf-8')}</script>",
    )
    table = None if setting.review is None else setting.review.review.csv
    app: Any = Guard(inner, setting.limits, setting.shelf, uploads, table)
    if is_loopback(host):
        # A page of another site cannot reach the app by a name that leads to this machine.
        app = TrustedHostMiddleware(app, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
    return app


def _theme(gr: Any) -> Any:
    """Return a theme with system fonts, since those of Gradio name other hosts, and text of more contrast."""
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
    )


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, make it the current one, and remove it at the end."""
    folder, former = Path(tempfile.mkdtemp(prefix="otoscope-app-")).resolve(), Path.cwd()
    (folder / UPLOADS).mkdir()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(former)
        shutil.rmtree(folder, ignore_errors=True)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address, at which connections may already wait.

    Args:
        host: Address that the server listens on.
        port: Port; 0: any that is free.

    Raises:
        ConfigurationError: The address or the port cannot be used.
    """
    if not 0 <= port < 65_536:
        raise ConfigurationError(f"--port {port}: must lie between 0 and 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        # a browser that is opened before the server runs waits, and is not refused
        listening.listen(_WAITING_CONNECTIONS)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"--host {host} --port {port}: cannot be used ({error.strerror or error}); choose another port, or 0 "
            "for any that is free"
        ) from error
    listening.set_inheritable(True)
    return listening


def address_of(host: str, port: int) -> str:
    """Return the address of the app.

    Example:
        >>> address_of("::1", 7860)
        'http://[::1]:7860'
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
