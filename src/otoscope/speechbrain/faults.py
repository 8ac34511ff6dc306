"""One named error for whatever goes wrong while files of other origin are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from otoscope.errors import CheckpointError, DownloadError, MismatchError, MissingExtraError, OtoscopeError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def one_error(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function that reads a model, so that every fault of the files becomes a `CheckpointError`.

    Args:
        function: Function whose last positional argument is the source.
    """

    @functools.wraps(function)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except (CheckpointError, DownloadError, MissingExtraError, MismatchError):
            raise
        except (Exception, MemoryError) as error:
            name = _name_of(args[-1] if args else "SpeechBrain")
            text = " ".join(str(error).split())[:300]
            cause = text if isinstance(error, OtoscopeError) else f"{type(error).__name__}: {text}"
            raise CheckpointError(f"{name}: does not describe a model of SpeechBrain ({cause})") from error

    return guarded


def _name_of(source: Any) -> str:
    return str(getattr(source, "name", None) or source) if not hasattr(source, "__fspath__") else str(source)
