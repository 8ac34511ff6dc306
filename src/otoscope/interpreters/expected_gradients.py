"""Expected gradients, with real clips as baselines (Erion et al. 2021, arXiv 1906.10670)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.interpreters.attribution import require_count
from otoscope.interpreters.baselines import Baselines, fit_to_length, read_baselines
from otoscope.interpreters.sampled_gradients import Lines, SampledGradientsInterpreter
from otoscope.models import sample_recordings
from otoscope.seeding import generator_for


class ExpectedGradientsInterpreter(SampledGradientsInterpreter):
    """Integrated gradients from other recordings instead of silence, averaged over these recordings.

    What a clip has in common with the recordings counts for nothing, such as the noise of one microphone, and quiet
    places count where other recordings are loud. The attributions of all bins sum to the score of the clip minus
    the mean score of the baselines, up to the error of the average, which ``samples`` makes small. ``samples``
    forward and as many backward passes per clip: 1.7 s for 5 s on a narrow CNN14 and one busy core.

    Baselines should be like the recordings that the classifier was trained on. They become part of the interpreter
    and of its model folder. A baseline of another length than the clip is cut at random or repeated.

    Args:
        classifier: Classifier to explain.
        samples: Number of random points.
        baselines: Recordings: a folder, a sound file, a pattern such as ``clips/1-*.wav``, or a list of these or of
            waveforms (default: the sample recordings of the package, four everyday sounds).
        most_baselines: Largest number of recordings; of more, this number is drawn at random.
        shape: Number of baselines and of their frames, for an interpreter whose baselines are loaded from a model
            folder afterwards; leave it out otherwise.
        **options: Options of `SeededAttributionInterpreter`.

    Raises:
        AudioError: A recording cannot be read.
        ConfigurationError: An option is out of its range, or there is no recording.
        GradientError: The classifier is a black box.

    Reference:
        Erion et al. 2021, arXiv 1906.10670. Departures: positions on the lines are stratified and baselines drawn
        without replacement, which has the same expectation and a smaller variance.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = classifier.hear(torch.randn(1, 8000))
        >>> interpreter = ExpectedGradientsInterpreter(
        ...     classifier, samples=4, baselines=[torch.randn(8000), torch.randn(5000)]
        ... )
        >>> interpreter(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([1, 513, 44])
    """

    unsaved_arguments: ClassVar[tuple[str, ...]] = ("classifier", "baselines")
    baselines: Tensor
    frames: Tensor

    def __init__(
        self,
        classifier: Classifier,
        samples: int = 64,
        baselines: str | os.PathLike[str] | Sequence[Any] | None = None,
        most_baselines: int = 32,
        shape: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(classifier, samples, **options)
        require_count(most_baselines=most_baselines)
        self.most_baselines = most_baselines
        if baselines is None and shape is not None:
            recordings = _empty(classifier, shape)
        else:
            source = [sample.path for sample in sample_recordings()] if baselines is None else baselines
            recordings = read_baselines(source, classifier, most_baselines, self.seed)
        self.register_buffer("baselines", recordings.log_magnitude)
        self.register_buffer("frames", recordings.frames)

    @property
    def shape(self) -> list[int]:
        """Number of baselines and of their frames."""
        return [len(self.baselines), self.baselines.shape[-1]]

    @override
    def lines(self, clip: Spectrogram, first: int, count: int) -> Lines:
        log_magnitude = clip.log_magnitude
        order, positions, places = self._draws()
        starts = []
        for draw in range(first, first + count):
            recording = self.baselines[order[draw], :, : int(self.frames[order[draw]])]
            starts.append(fit_to_length(recording, log_magnitude.shape[-1], float(places[draw])))
        return Lines(
            torch.stack(starts).to(log_magnitude),
            log_magnitude,
            positions[first : first + count].to(log_magnitude),
        )

    def _draws(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return recording, position on the line, and place in the recording of each point; each (samples,)."""
        generator = generator_for("expected gradients", self.seed)
        count = len(self.baselines)
        # all recordings once, then all once again in another order
        rounds = [torch.randperm(count, generator=generator) for _ in range(-(-self.samples // count))]
        # one position in each of as many equal parts of the line as there are points
        offsets = torch.rand(self.samples, generator=generator)
        positions = (torch.randperm(self.samples, generator=generator) + offsets) / self.samples
        return torch.cat(rounds)[: self.samples], positions, torch.rand(self.samples, generator=generator)

    @override
    def check_weights(self, folder: Path) -> None:
        longest = self.baselines.shape[-1]
        if bool((self.baselines < 0).any()) or not bool(((self.frames >= 1) & (self.frames <= longest)).all()):
            raise CheckpointError(f"{folder}: its baselines are no recordings; make the interpreter again")


def _empty(classifier: Classifier, shape: Sequence[int]) -> Baselines:
    """Return silent baselines of a shape, to be replaced by those of a model folder."""
    if len(shape) != 2 or min(shape) < 1:
        raise ConfigurationError(f"shape: {list(shape)} must be two numbers of 1 or more")
    count, frames = shape
    return Baselines(torch.zeros(count, classifier.frontend.bins, frames), torch.full((count,), frames))
