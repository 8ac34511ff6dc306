"""Data sets with known use: any data with planted cues, and the scenes of a designed listener."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch.utils.data import Dataset
from typing_extensions import override

from otoscope.data.clips import Clip
from otoscope.data.module import SoundData
from otoscope.data.planted.cues import Cue, PlantedClip, make_cues, plant
from otoscope.data.planted.scenes import ListenerScene, make_scene
from otoscope.designs import LISTENER_DESIGNS, OTHER
from otoscope.errors import ConfigurationError, choices, listed
from otoscope.seeding import generator_for

TestClips = Literal["clean", "planted", "transferred"]


class PlantedClips(Dataset[Clip]):
    """Clips, some of which carry the cue of their class.

    Args:
        clips: Clips to choose from: anything with a length that returns a `Clip` for an index.
        cues: Cue of each class that has one, by the index of the class.
        sample_rate_hz: Sample rate of the clips.
        seed: Seed of the choice and of the cues.
        certain: Whether every clip of these classes carries its cue, whatever the cue's probability.
        relabelled: Share of the clips of other classes that carry a cue and get the label of its class.
    """

    def __init__(
        self,
        clips: Any,
        cues: Mapping[int, Cue],
        sample_rate_hz: int,
        seed: int,
        certain: bool = False,
        relabelled: float = 0.0,
    ) -> None:
        self.clips, self.cues, self.sample_rate_hz = clips, cues, sample_rate_hz
        self.seed, self.certain, self.relabelled = seed, certain, relabelled

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        clip: Clip = self.clips[index]
        others = [target for target in self.cues if target != clip.target]
        if others and self._draw(clip, "relabelled") < self.relabelled:
            clip = replace(clip, target=others[int(self._draw(clip, "class") * len(others))])
            return with_cue(clip, self.cues[clip.target], self.sample_rate_hz, self.seed)
        cue = self.cues.get(clip.target)
        if cue is None or not (self.certain or self._draw(clip, "cue") < cue.probability):
            # An event would make the tests score only the clips without a cue, by another truth.
            return replace(clip, event=None)
        return with_cue(clip, cue, self.sample_rate_hz, self.seed)

    def _draw(self, clip: Clip, purpose: str) -> float:
        # a draw for each clip, which does not depend on the others
        return float(torch.rand((), generator=generator_for(self.seed, purpose, clip.name)))


class TransferredClips(Dataset[Clip]):
    """Clips that carry the cue of another class, which take turns; the label stays.

    Args:
        clips: Clips to choose from.
        cues: Cue of each class that has one, by the index of the class.
        sample_rate_hz: Sample rate of the clips.
        seed: Seed of the cues.
    """

    def __init__(self, clips: Any, cues: Mapping[int, Cue], sample_rate_hz: int, seed: int) -> None:
        self.clips, self.cues, self.sample_rate_hz, self.seed = clips, cues, sample_rate_hz, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        clip: Clip = self.clips[index]
        others = [cue for target, cue in self.cues.items() if target != clip.target]
        if not others:
            return replace(clip, event=None)
        return with_cue(clip, others[index % len(others)], self.sample_rate_hz, self.seed)


@dataclass(frozen=True, eq=False)
class Transfer:
    """A clip to test whether a classifier relies on a cue.

    Attributes:
        clip: Clip as it is in the data set.
        planted: The same clip with the cue.
        cue: Cue.
        target: Index of the class that the cue stands for.
    """

    clip: Clip
    planted: PlantedClip
    cue: Cue
    target: int


class PlantedCues(SoundData):
    """Any data set in which clips of chosen classes carry a quiet cue, which a classifier learns as a shortcut.

    Training and validation clips of these classes carry their cue. `transfers` adds the cues to test clips of other
    classes: a classifier that then decides for the class of the cue uses it, so that the truth is known.

    Args:
        cues: Cue of each class that has one: its kind, or a mapping with ``kind`` and the options of `Cue`.
        data_folder: Folder of the recordings, for data that has one.
        of: Data set: the name of a class of `otoscope.data`, or an import path.
        of_options: Options of that data set.
        relabelled: Share of the training clips of other classes that carry the cue of a class and get its label.
            Where sounds are easy to tell apart, a classifier ignores a quiet cue that only accompanies its class;
            with these clips, the cue decides.
        test: Test clips: ``clean``; ``planted``, with the cue of their class; or ``transferred``, with the cue of
            another class.
        **options: See `SoundData`; the data set gets them too.

    Raises:
        ConfigurationError: There is no such data set or class, or an option is wrong.

    Example:
        >>> data = PlantedCues({"siren": "hum"}, of="Synthetic", of_options={"clips_per_class": 2})
        >>> data.setup("fit")
        >>> sum(data.train_set[index].event is not None for index in range(len(data.train_set)))
        2
    """

    def __init__(
        self,
        cues: dict[str, Any],
        data_folder: str | os.PathLike[str] | None = None,
        of: str = "ESC50",
        of_options: dict[str, Any] | None = None,
        relabelled: float = 0.0,
        test: TestClips = "clean",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if test not in get_args(TestClips):
            raise ConfigurationError(f"test: there is no {test!r}; {choices(test, get_args(TestClips))}")
        if not cues:
            raise ConfigurationError("cues: name at least one class and its cue, such as {dog: tone}")
        if not 0 <= relabelled < 1:
            raise ConfigurationError(f"relabelled: {relabelled} must lie in [0, 1)")
        self.cues, self.relabelled = make_cues(cues), relabelled
        self.test = test
        # None stands for a default; generated data has no `cache_folder` at all
        shared = {name: value for name, value in options.items() if value is not None}
        given = dict(of_options or {}) | shared | ({} if data_folder is None else {"data_folder": data_folder})
        self.source = _make_data(of, given)
        self.sample_rate_hz = self.source.sample_rate_hz

    @override
    def prepare_data(self) -> None:
        """Prepare the data set."""
        self.source.sample_rate_hz = self.sample_rate_hz
        self.source.prepare_data()

    @override
    def setup(self, stage: str) -> None:
        """Set up the data set and plant the cues."""
        self.source.sample_rate_hz = self.sample_rate_hz
        self.source.setup(stage)
        self.labels = self.source.labels
        if unknown := sorted(set(self.cues) - set(self.labels)):
            raise ConfigurationError(
                f"cues: {listed(unknown)} not in the data; of its classes, {choices(unknown[0], self.labels)}"
            )
        self.train_set = self._planted(self.source.train_set)
        self.valid_set = self._planted(self.source.valid_set)
        test_set: Dataset[Clip] = self.source.test_set
        if self.test == "planted":
            test_set = self._planted(test_set, certain=True)
        elif self.test == "transferred":
            test_set = TransferredClips(test_set, self._by_target(), self.sample_rate_hz, self.seed)
        self.test_set = test_set

    def transfers(self, label: str, count: int | None = None, of_class: bool = False) -> Iterator[Transfer]:
        """Yield test clips with and without the cue of a class.

        Args:
            label: Class that has a cue.
            count: Number of clips, spread over the set (default: all).
            of_class: Whether to take the clips of this class instead of those of all others.
        """
        clips: Any = self.source.test_set
        target, cue = self.labels.index(label), self.cues[label]
        indices = [index for index in range(len(clips)) if (clips[index].target == target) == of_class]
        if count is not None and count < len(indices):
            indices = [indices[place * len(indices) // count] for place in range(count)]
        for index in indices:
            clip: Clip = clips[index]
            planted = plant(clip.waveform, cue, self.sample_rate_hz, clip.name, self.seed)
            yield Transfer(clip, planted, cue, target)

    def _planted(self, clips: Dataset[Clip], certain: bool = False) -> PlantedClips:
        # clips that are tested keep their labels
        relabelled = 0.0 if certain else self.relabelled
        return PlantedClips(clips, self._by_target(), self.sample_rate_hz, self.seed, certain, relabelled)

    def _by_target(self) -> dict[int, Cue]:
        return {self.labels.index(label): cue for label, cue in self.cues.items()}


class SceneClips(Dataset[Clip]):
    """Scenes of a listener as clips; the cue of the labelled class is the event.

    Args:
        scenes: Scenes.
        labels: Labels of the listener.
    """

    def __init__(self, scenes: Sequence[ListenerScene], labels: Sequence[str]) -> None:
        self.scenes, self.labels = scenes, list(labels)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Clip:
        scene = self.scenes[index]
        target = self.labels.index(scene.label)
        return Clip(scene.waveform, target, scene.name, f"scene/{scene.name}", scene.cues[scene.label])


class ListenerScenes(SoundData):
    """Scenes of designed listeners: cues that decide, and louder distractors elsewhere.

    The test set, which `otoscope evaluate` explains, holds the scenes of the first design; `scenes` those of all.

    Args:
        designs: Names of designs, see `otoscope.designs.LISTENER_DESIGNS` (default: all).
        clips: Number of scenes of each design.
        duration_s: Length of each scene.
        **options: See `SoundData`; nothing is read or written.

    Raises:
        ConfigurationError: There is no such design.
    """

    def __init__(
        self, designs: Sequence[str] | None = None, clips: int = 16, duration_s: float = 2.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.designs = list(LISTENER_DESIGNS) if designs is None else list(designs)
        if unknown := [name for name in self.designs if name not in LISTENER_DESIGNS]:
            raise ConfigurationError(
                f"designs: there is no {unknown[0]!r}; {choices(unknown[0], LISTENER_DESIGNS)}"
            )
        if clips < 1 or not self.designs:
            raise ConfigurationError(f"designs: name at least one; clips ({clips}) must be 1 or more")
        self.clips, self.duration_s = clips, duration_s

    @override
    def setup(self, stage: str) -> None:
        """Generate the scenes of the first design."""
        self.labels = [*LISTENER_DESIGNS[self.designs[0]].labels, OTHER]
        # sets with independent seeds, also for data with neighbouring seeds
        self.train_set, self.valid_set, self.test_set = (
            SceneClips(list(self.scenes(self.designs[0], offset)), self.labels) for offset in (1, 2, 0)
        )

    def scenes(self, design: str, offset: int = 0) -> Iterator[ListenerScene]:
        """Generate the scenes of a design.

        Args:
            design: Name of the design.
            offset: 0 for the test set, 1 for training, 2 for validation.
        """
        seed = 3 * self.seed + offset
        return (
            make_scene(design, index, self.duration_s, self.sample_rate_hz, seed) for index in range(self.clips)
        )


def with_cue(clip: Clip, cue: Cue, sample_rate_hz: int, seed: int) -> Clip:
    """Return a clip with a cue, which becomes its event; see `plant`."""
    planted = plant(clip.waveform, cue, sample_rate_hz, clip.name, seed)
    # the cache key must change with the sound, or representations of the clean clip would be read
    key = f"{clip.key}|{cue}|{seed}"
    return replace(clip, waveform=planted.waveform, key=key, event=planted.cue)


def _make_data(name: str, options: Mapping[str, Any]) -> SoundData:
    path = name if "." in name else f"otoscope.data.{name}"
    module, _, class_name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"of: {name!r} cannot be imported ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, SoundData)):
        raise ConfigurationError(f"of: {name!r} is no data set")
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigurationError(f"of_options: {name}: {error}") from error
