"""Scenes with known ground truth: a synthetic sound event and a background, each available alone.

Example:
    >>> scenes = SyntheticScenes(clips_per_class=2, classes=["rooster", "dog"])
    >>> [scene.name for scene in scenes]
    ['rooster-0000', 'dog-0000', 'rooster-0001', 'dog-0001']
    >>> scenes[0].mixture.shape
    torch.Size([32000])
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from otoscope.data.synthetic.backgrounds import BACKGROUNDS
from otoscope.data.synthetic.building_blocks import Sound
from otoscope.data.synthetic.events import EVENTS
from otoscope.errors import ConfigurationError, choices

MIXTURE_PEAK = 0.9
# Shorter clips cannot hold the rhythms that distinguish the events.
SHORTEST_S = 0.5
# Glass, crickets and birds have energy up to 7.4 kHz.
LOWEST_RATE_HZ = 16000
FRAME_S = 0.01
ACTIVE_FLOOR_DB = -30.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip whose parts are known.

    Attributes:
        event: The sound that the label names, as loud as in the mixture. Shape (samples,), float32.
        background: All other sound. Shape (samples,), float32.
        label: Class of the event, spelt as in ESC-50.
        target: Index of the label among the classes of the data set.
        snr_db: Level of the event over the background, as defined by `signal_to_noise_db`.
        name: Name that is unique in the data set and safe as a file name, such as `rooster-0003`.
    """

    event: Tensor
    background: Tensor
    label: str
    target: int
    snr_db: float
    name: str

    @property
    def mixture(self) -> Tensor:
        """Sum of event and background, in [-0.9, 0.9]. Shape (samples,)."""
        return self.event + self.background


class SyntheticScenes(Dataset[Scene]):
    """Data set of synthetic scenes, each generated when it is read.

    Item i depends only on the seed, on i and on the options below: not on the process, the run or the order
    of access. Classes alternate, so that a larger `clips_per_class` extends the same data set.

    Args:
        clips_per_class: Number of scenes of each class.
        classes: Different labels among those of `otoscope.data.synthetic.events.EVENTS` (default: all).
        duration_s: Length of a scene, at least 0.5 s.
        sample_rate_hz: Sample rate, at least 16 kHz.
        snr_db: Lowest and highest level of the event over the background; levels are drawn uniformly between.
        seed: Seed of all scenes, 0 or positive.

    Raises:
        ConfigurationError: An option is out of its range.

    Example:
        >>> SyntheticScenes(1, ["siren"], seed=3)[0].label
        'siren'
    """

    def __init__(
        self,
        clips_per_class: int,
        classes: Sequence[str] | None = None,
        duration_s: float = 2.0,
        sample_rate_hz: int = 16000,
        snr_db: tuple[float, float] = (0.0, 15.0),
        seed: int = 0,
    ) -> None:
        self.classes = list(EVENTS) if classes is None else _checked_classes(classes)
        _require(clips_per_class >= 1, f"clips_per_class is {clips_per_class}: ask for at least 1 clip.")
        _require(SHORTEST_S <= duration_s < np.inf, f"duration_s is {duration_s}: give {SHORTEST_S} s or more.")
        _require(
            sample_rate_hz >= LOWEST_RATE_HZ,
            f"sample_rate_hz is {sample_rate_hz}: the events need {LOWEST_RATE_HZ} Hz or more.",
        )
        _require(
            bool(np.isfinite(snr_db).all()) and len(snr_db) == 2 and snr_db[0] <= snr_db[1],
            f"snr_db is {tuple(snr_db)}: give two finite numbers, the lower one first.",
        )
        _require(seed >= 0, f"seed is {seed}: give 0 or a positive number.")
        self.clips_per_class = clips_per_class
        self.duration_s = duration_s
        self.sample_rate_hz = sample_rate_hz
        self.snr_db = snr_db
        self.seed = seed

    def __repr__(self) -> str:
        size = f"{len(self)} of {len(self.classes)} classes"
        return f"SyntheticScenes({size}, {self.duration_s} s, {self.sample_rate_hz} Hz)"

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self.clips_per_class * len(self.classes)

    def __iter__(self) -> Iterator[Scene]:
        """Generate all scenes in turn."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Scene:
        """Generate scene `index`; a negative index counts from the end."""
        position = range(len(self))[index]  # raises IndexError beyond the end, which ends a loop
        take, target = divmod(position, len(self.classes))
        label = self.classes[target]
        # A generator for each scene, so that a scene does not depend on those that were read before.
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, position]))
        samples = round(self.duration_s * self.sample_rate_hz)
        snr_db = float(rng.uniform(*self.snr_db))
        event = EVENTS[label](rng, samples, self.sample_rate_hz)
        kind = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
        background = BACKGROUNDS[kind](rng, samples, self.sample_rate_hz)
        event, background = _at_level(event, background, self.sample_rate_hz, snr_db)
        return Scene(
            event=torch.from_numpy(event),
            background=torch.from_numpy(background),
            label=label,
            target=target,
            snr_db=snr_db,
            name=f"{label}-{take:04d}",
        )


def active_samples(event: Sound, sample_rate_hz: int) -> NDArray[np.bool_]:
    """Return where an event is audible: the 10 ms frames within 30 dB of the energy of the loudest frame.

    Args:
        event: Event without background, not silent. Shape (samples,).
        sample_rate_hz: Sample rate.

    Returns:
        True where the event is active. Shape (samples,).

    Example:
        >>> active_samples(np.repeat([0, 1, 0], 160).astype(np.float32), 16000).sum()
        np.int64(160)
    """
    frame = round(FRAME_S * sample_rate_hz)
    # Sums over frames; reduceat also takes a last frame that is not full.
    energy = np.add.reduceat(np.square(event, dtype=np.float64), np.arange(0, event.size, frame))
    # Energies are compared, so the floor in dB is divided by 10 and not by 20.
    active = energy >= 10 ** (ACTIVE_FLOOR_DB / 10) * energy.max()
    return np.repeat(active, frame)[: event.size]


def signal_to_noise_db(event: Sound, background: Sound, sample_rate_hz: int) -> float:
    r"""Return the level of an event over its background, where the event is active.

    .. math:: 10 \log_{10} \frac{\mathrm{mean}_{t \in A}\, e_t^2}{\mathrm{mean}_{t}\, b_t^2}

    where A are the `active_samples` of the event e, while the background b counts over the whole clip. A short
    sound of a given level is thus as prominent as a long one, wherever it lies.

    Args:
        event: Event without background. Shape (samples,).
        background: Background without event. Shape (samples,).
        sample_rate_hz: Sample rate.

    Returns:
        The ratio in dB.
    """
    active = active_samples(event, sample_rate_hz)
    signal = np.mean(np.square(event[active], dtype=np.float64))
    return float(10 * np.log10(signal / np.mean(np.square(background, dtype=np.float64))))


def _at_level(event: Sound, background: Sound, sample_rate_hz: int, snr_db: float) -> tuple[Sound, Sound]:
    # Only the event is scaled to the level; the gain of both that follows does not change their ratio.
    excess_db = snr_db - signal_to_noise_db(event, background, sample_rate_hz)
    event = event * np.float32(10 ** (excess_db / 20))
    gain = np.float32(MIXTURE_PEAK / np.abs(event + background).max())
    return event * gain, background * gain


def _checked_classes(classes: Sequence[str]) -> list[str]:
    _require(
        not isinstance(classes, str) and len(classes) > 0 and len(set(classes)) == len(classes),
        f"classes is {classes!r}: give a list of one or more different labels.",
    )
    for label in classes:
        _require(label in EVENTS, f"classes: unknown label {label!r}; {choices(label, EVENTS)}")
    return list(classes)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigurationError(message)
