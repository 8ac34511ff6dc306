"""Errors that a user can cause and can fix.

All derive from `OtoscopeError`; the command line prints the message in one line and exits with code 2. A message
names the file or the option, the fault and the remedy.
"""


class OtoscopeError(Exception):
    """Base class of all errors that the user can fix."""


class ActivationMapError(OtoscopeError):
    """A method needs the activation map of a classifier that has none."""


class AudioError(OtoscopeError):
    """A sound file cannot be read, or holds no usable sound."""


class CheckpointError(OtoscopeError):
    """A model folder is missing, incomplete, newer than this version, or does not fit."""


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


class PhaseError(OtoscopeError):
    """A classifier of waveforms was given a spectrogram without its phase."""


class RepresentationError(OtoscopeError):
    """A method reads inner representations, but no layer of the classifier is named."""


class ShapeError(OtoscopeError, ValueError):
    """The shapes of tensors do not fit together."""


class UnsuitableMethodError(OtoscopeError):
    """A method cannot explain this kind of classifier."""


class TrainingError(OtoscopeError):
    """Training cannot continue, for example because the loss is no longer finite."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, for messages that quote it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
