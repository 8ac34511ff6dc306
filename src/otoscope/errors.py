"""Errors that a user can cause and can fix.

All derive from `OtoscopeError`; the command line prints the message in one line and exits with code 2. A message
names the file or the option, the fault and the remedy; an unknown name is answered with close ones, see `choices`.
"""

import difflib
from collections.abc import Iterable

_LONGEST_LIST = 300
_FIRST_NAMES = 5
_CLOSE_NAMES = 3
_CLOSE = 0.65
"""Least similarity of close names, from 0 to 1, see `difflib`."""


class OtoscopeError(Exception):
    """Base class of all errors that the user can fix."""


class ActivationMapError(OtoscopeError):
    """A method needs the activation map of a classifier that has none."""


class AudioError(OtoscopeError):
    """A sound file cannot be read, or holds no usable sound."""


class CheckpointError(OtoscopeError):
    """A model folder is missing, incomplete, newer than this version, or does not fit."""


class NoInterpreterError(CheckpointError):
    """A model folder holds a classifier alone, where an interpreter is needed."""


class MismatchError(CheckpointError):
    """Weights were saved from another kind of network, or from one of other sizes.

    Args:
        source: What holds the weights.
        cause: What differs.
    """

    def __init__(self, source: object, cause: str) -> None:
        super().__init__(f"{source}: does not fit: {cause}")
        self.cause = cause


class ConfigurationError(OtoscopeError):
    """Options are invalid or contradict one another."""


class ClassifierError(ConfigurationError):
    """A classifier returns what is no number."""


class GradientError(OtoscopeError):
    """A method that needs gradients was asked to explain a black box."""


class DataError(OtoscopeError):
    """A data set is missing or malformed."""


class DownloadError(OtoscopeError):
    """Something could not be fetched.

    Args:
        message: Message, with the remedy.
        cause: Cause alone, for messages that name another remedy (default: the message).
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause or message


class MissingExtraError(OtoscopeError):
    """An optional dependency is not installed."""


class MissingPartError(DataError):
    """A part of a saved explanation is read that was not saved."""


class PhaseError(OtoscopeError):
    """A classifier of waveforms was given a spectrogram without its phase."""


class RepresentationError(OtoscopeError):
    """A method reads inner representations, but no layer of the classifier is named."""


class ShapeError(OtoscopeError, ValueError):
    """The shapes of tensors do not fit together."""


class UnsuitableMethodError(OtoscopeError):
    """A method cannot explain this kind of classifier."""


class WorkerError(OtoscopeError):
    """A process that worked on a recording has died."""


class TrainingError(OtoscopeError):
    """Training cannot continue, for example because the loss is no longer finite."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, for messages that quote it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def listed(names: Iterable[object]) -> str:
    """Return names as a list for a message: all of them if they are few, else the first ones and their number.

    Example:
        >>> listed(["dog", "rain"]), listed(range(1000))
        ('dog, rain', '0, 1, 2, 3, 4 ... (1000 in all)')
    """
    texts = [str(name) for name in names]
    if len(text := ", ".join(texts)) <= _LONGEST_LIST:
        return text or "none"
    # A single name may be a page of text.
    first = [name if len(name) <= _LONGEST_LIST // 5 else f"{name[: _LONGEST_LIST // 5]}..." for name in texts]
    return f"{', '.join(first[:_FIRST_NAMES])} ... ({len(texts)} in all)"


def choices(name: object, names: Iterable[object]) -> str:
    """Return what a message says about the names that could be meant by an unknown one.

    Args:
        name: What the user gave.
        names: The names that exist.

    Example:
        >>> choices("salience", ["rise", "saliency"])
        "did you mean 'saliency'? There are rise, saliency"
        >>> choices("x", ["rise", "saliency"])
        'there are rise, saliency'
    """
    texts = list(dict.fromkeys(str(other) for other in names))
    close = close_names(str(name), texts)
    if not close:
        return f"there are {listed(texts)}"
    meant = " or ".join(map(repr, close))
    every = ", ".join(texts)
    return f"did you mean {meant}?" + (f" There are {every}" if len(every) <= _LONGEST_LIST else "")


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """Return up to three names that are spelled like a name, whatever the case, or that have it as a part.

    Example:
        >>> close_names("DOG", ["Cat", "Dog", "Hot dog"]), close_names("x", ["Cat"])
        (['Dog', 'Hot dog'], [])
    """
    spellings: dict[str, str] = {}
    for other in names:
        spellings.setdefault(_plain(other), other)
    plain = _plain(name)
    close = difflib.get_close_matches(plain, spellings, n=_CLOSE_NAMES, cutoff=_CLOSE)
    # "barking" finds "Dog barking loudly", which difflib takes for too different
    parts = [other for other in spellings if len(plain) > 2 and plain in other]
    return [spellings[other] for other in dict.fromkeys([*close, *sorted(parts, key=len)])][:_CLOSE_NAMES]


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ")
