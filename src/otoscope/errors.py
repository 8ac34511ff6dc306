"""Errors that a user can cause and can mend.

Each derives from `OtoscopeError`; the command line prints its message in one line and exits with
code 2. A message names the file or the option, says what is wrong, and what to do about it.
"""


class OtoscopeError(Exception):
    """Base class: something that the user can mend."""


class ActivationMapError(OtoscopeError):
    """A method needs the classifier's own activation map, and it has none."""


class AudioError(OtoscopeError):
    """A sound file cannot be read, or holds no usable sound."""


class CheckpointError(OtoscopeError):
    """A model folder is missing, incomplete, newer than this version, or does not fit."""


class ConfigurationError(OtoscopeError):
    """Options that are wrong by themselves or that contradict one another."""


class GradientError(OtoscopeError):
    """A method that needs gradients was asked to explain a black box."""


class DataError(OtoscopeError):
    """A data set is missing or malformed."""


class DownloadError(OtoscopeError):
    """Something could not be fetched."""


class MissingExtraError(OtoscopeError):
    """An optional dependency is not installed."""


class PhaseError(OtoscopeError):
    """A classifier that hears waveforms was given a spectrogram without its phase."""


class RepresentationError(OtoscopeError):
    """A method reads inner representations, and none of the classifier's layers is named."""


class ShapeError(OtoscopeError, ValueError):
    """Tensors whose shapes do not fit together."""


class UnsuitableMethodError(OtoscopeError):
    """A method does not fit the kind of classifier that it is to explain."""


class TrainingError(OtoscopeError):
    """Training cannot go on, for instance because the loss is no longer finite."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for messages that quote it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
