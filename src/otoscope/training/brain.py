"""Training and evaluation of interpreters: one loop for all methods."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.fingerprint import traits_of
from otoscope.data import Batch
from otoscope.errors import ConfigurationError
from otoscope.explain import Explainer, method_name
from otoscope.files.array_cache import ArrayCache, default_cache_folder
from otoscope.interpreters import Interpreter, save_interpreter
from otoscope.loading import load_classifier
from otoscope.metrics import MeanScores, score_answers, score_mask, scores_shown
from otoscope.scoring import CONTROLS, score_against_controls
from otoscope.training.task import Schedule, TrainingTask

Stage = Literal["train", "valid", "test"]
_DECISION_SCORES = scores_shown("training", truth=False)
_TRUTH_SCORES = scores_shown("training", truth=True)


@dataclass
class Interpretation:
    """What `InterpreterBrain.compute_forward` returns.

    Attributes:
        log_magnitude: Shape (batch, frequency, time).
        prediction: The frozen classifier's.
        decoded: The interpreter's.
        frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
        clean: Log magnitude of `Batch.clean`, where there is one. Shape (batch, frequency, time).
        answers: Logits of evidence and remainder, where the loss asks for them. Shape (2, batch, classes).
    """

    log_magnitude: Tensor
    prediction: Prediction
    decoded: Any
    frames: Tensor | None
    clean: Tensor | None = None
    answers: Tensor | None = None


class InterpretationSteps(NamedTuple):
    """What `InterpreterBrain.interpret_computation_steps` returns, under the reference's names.

    Attributes:
        X_int: Masked log magnitude. Shape (batch, frequency, time).
        xhat: The interpreter's output: the mask, or the activation it is cut from. Same shape.
        X_stft_phase: Phase in radians. Same shape.
        class_pred: The classifier's decision. Shape (batch,).
    """

    X_int: Tensor
    xhat: Tensor
    X_stft_phase: Tensor
    class_pred: Tensor


class InterpreterBrain(TrainingTask):
    """Trains an interpreter of a frozen classifier; the best checkpoint has the lowest validation loss.

    Args:
        classifier: The classifier itself, or where it comes from: a model folder, ``owner/name`` on the hub, or
            what SpeechBrain published or trained.
        interpreter: Makes the interpreter from the classifier.
        cache_representations: Compute what the classifier says of a clip once and keep it on disk. Takes
            about 1 MB a clip for the published classifier; of use from the second epoch on.
        cache_folder: Where representations are kept; by default the user's cache folder.
        schedule: Of the learning rate.
        **training: See `TrainingTask`.
    """

    def __init__(
        self,
        classifier: str | Classifier | Path,
        interpreter: Callable[[Classifier], Interpreter[Any]],
        cache_representations: bool = False,
        cache_folder: str | os.PathLike[str] | None = None,
        schedule: Schedule = "plateau",
        **training: Any,
    ) -> None:
        super().__init__(schedule=schedule, **training)
        if not isinstance(classifier, Classifier):
            classifier = load_classifier(classifier)
        self._frozen = [classifier.freeze()]  # in a list: neither a submodule nor in the state_dict
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.interpreter = interpreter(classifier)
        self.labels = classifier.labels
        self._representations: _RepresentationCache | None = None
        if cache_representations:
            folder = Path(cache_folder) if cache_folder else default_cache_folder()
            self._representations = _RepresentationCache(classifier, folder / "representations")
        self._valid_scores = MeanScores([*_DECISION_SCORES, *self.interpreter.own_score_names])
        self._test_scores: dict[str, MeanScores] = {}
        self.extra_results: dict[str, Any] = {}
        """What callbacks found at test, by name; becomes part of the report."""

    @property
    def classifier(self) -> Classifier:
        """The frozen classifier; no part of the ``state_dict``."""
        return self._frozen[0]

    @property
    def frontend(self) -> Frontend:
        """See `TrainingTask.frontend`."""
        return self.classifier.frontend

    @property
    def explainer(self) -> Explainer:
        """Classifier and interpreter as they are now, in evaluation mode and without gradients."""
        return Explainer(self.classifier, self.interpreter)

    @contextlib.contextmanager
    def explaining(self) -> Iterator[Explainer]:
        """The `explainer`, after which training can go on."""
        training = self.training
        trainable = [parameter for parameter in self.interpreter.parameters() if parameter.requires_grad]
        try:
            yield self.explainer
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)
            self.train(training)

    def adapt_to(self, labels: Sequence[str]) -> None:
        """Checks that the classifier knows the labels of the data set.

        Raises:
            ConfigurationError: It does not know some of them.
        """
        if unknown := [label for label in labels if label not in self.labels]:
            raise ConfigurationError(
                f"classifier: it does not know {', '.join(unknown)}, which the data set has; train it on this "
                "data set, or choose classes that it knows"
            )

    def compute_forward(self, batch: Batch, stage: Stage) -> Interpretation:
        """Runs front-end, frozen classifier and interpreter, each once."""
        frontend = self.classifier.frontend
        phase = None
        if self.classifier.needs_phase:
            spectrogram: Spectrogram = frontend(batch.waveform)
            log_magnitude, phase = spectrogram.log_magnitude, spectrogram.phase
        else:
            log_magnitude = frontend.log_magnitude(batch.waveform)
        frames = frontend.frames(batch.lengths) if batch.padded else None
        prediction = self._predict(batch, log_magnitude, frames, stage, phase)
        decoded = self.interpreter.decode(log_magnitude, prediction, frames)
        clean = None if batch.clean is None else frontend.log_magnitude(batch.clean)
        return Interpretation(log_magnitude, prediction, decoded, frames, clean)

    def compute_objectives(self, predictions: Interpretation, batch: Batch, stage: Stage) -> Tensor:
        """The loss of the batch, logged term by term."""
        return self.total(self.loss_terms(predictions), stage, len(batch))

    def loss_terms(self, forward: Interpretation) -> Mapping[str, Tensor]:
        """The interpreter's loss; to be overridden for one that needs more."""
        return self.interpreter.loss(forward.decoded, forward.log_magnitude, forward.prediction, forward.frames)

    @torch.no_grad()
    def interpret_computation_steps(self, wavs: Tensor, print_probability: bool = False) -> InterpretationSteps:
        """Interprets waveforms without computing a loss.

        Args:
            wavs: Shape (batch, samples).
            print_probability: Print the probability of the first clip's predicted class.
        """
        spectrogram = self.classifier.frontend(wavs)
        prediction = self.classifier.predict(spectrogram.log_magnitude, phase=spectrogram.phase)
        if print_probability:
            print(f"classifier probability: {prediction.probabilities[0].max().item():.4f}")
        decoded = self.interpreter.decode(spectrogram.log_magnitude, prediction)
        masked = spectrogram.masked(self.interpreter.mask(decoded))
        output = self.interpreter.output(decoded)
        return InterpretationSteps(masked.log_magnitude, output, spectrogram.phase, prediction.predicted)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """One step of the loss."""
        return self.compute_objectives(self.compute_forward(batch, "train"), batch, "train")

    def validation_step(self, batch: Batch, index: int) -> None:
        """Loss and scores, without controls."""
        forward = self.compute_forward(batch, "valid")
        self.compute_objectives(forward, batch, "valid")
        mask = self.interpreter.mask(forward.decoded, forward.frames)
        own = self.interpreter.own_scores(forward.decoded, forward.prediction)
        self._valid_scores.update(self._score_decision(forward, mask) | own)

    def on_validation_epoch_end(self) -> None:
        """Logs the mean scores of the epoch."""
        means = self._valid_scores.compute()
        shown = {f"valid_{name}": value for name, value in means.items() if not torch.isnan(value)}
        self.log_dict(shown, sync_dist=False)
        self._valid_scores.reset()

    def on_test_epoch_start(self) -> None:
        """Forgets an earlier test run."""
        self._test_scores = {}
        self.extra_results = {}

    def test_step(self, batch: Batch, index: int) -> None:
        """Scores of the method and of every control."""
        frontend = self.classifier.frontend
        spectrogram = frontend(batch.waveform, batch.lengths if batch.padded else None)
        prediction = self._predict(batch, spectrogram.log_magnitude, spectrogram.frames, "test", spectrogram.phase)
        decoded = self.interpreter.decode(spectrogram.log_magnitude, prediction, spectrogram.frames)
        terms = self.interpreter.loss(decoded, spectrogram.log_magnitude, prediction, spectrogram.frames)
        if terms:
            self.total(terms, "test", len(batch))
        scores = score_against_controls(
            self.classifier,
            spectrogram,
            prediction,
            {method_name(self.interpreter): self.interpreter.mask(decoded, spectrogram.frames)},
            batch.name,
            batch.waveform,
            batch.event,
            batch.lengths,
            seed=self.seed,
        )
        scores[method_name(self.interpreter)] |= self.interpreter.own_scores(decoded, prediction)
        for name, values in scores.items():
            names = _DECISION_SCORES + (_TRUTH_SCORES if batch.event is not None else [])
            names += [one for one in self.interpreter.own_score_names if one in values]
            board = self._test_scores.setdefault(name, MeanScores(names).to(self.device))
            board.update(values)

    def report(self, folder: Path) -> dict[str, Any]:
        """The table of scores: the method, then its controls."""
        order = [name for name in self._test_scores if name not in CONTROLS]
        order += [name for name in CONTROLS if name in self._test_scores]
        means = {name: self._test_scores[name].compute() for name in order}
        scores = {name: {key: float(v) for key, v in row.items()} for name, row in means.items()}
        return {"scores": scores, **self.extra_results}

    def export(self, folder: Path, **extra: Any) -> Path:
        """See `TrainingTask.export`."""
        return save_interpreter(self.interpreter, self.classifier, folder, **extra)

    def _predict(
        self, batch: Batch, log_magnitude: Tensor, frames: Tensor | None, stage: Stage, phase: Tensor | None = None
    ) -> Prediction:
        # Scores compare with probabilities of the same batch; from another one they differ by rounding.
        if self._representations is not None and frames is None and stage == "train":
            return self._representations.predict(batch.key, log_magnitude, phase)
        with torch.no_grad():
            return self.classifier.predict(log_magnitude, frames, phase)

    @torch.no_grad()
    def _score_decision(self, forward: Interpretation, mask: Tensor) -> dict[str, Tensor]:
        prediction = forward.prediction
        if forward.answers is not None:
            kept, left = replace(prediction, logits=forward.answers).probabilities
            return score_answers(mask, prediction.probabilities, kept, left, forward.frames)
        classify = partial(self.classifier.probabilities, phase=prediction.phase)
        return score_mask(classify, forward.log_magnitude, mask, prediction.probabilities, forward.frames)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Takes the frozen classifier along to another device."""
        self.classifier._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Any:
        """Never leaves the classifier in training mode."""
        self.classifier.eval()
        return super().train(mode)


class _RepresentationCache:
    """What the frozen classifier says of each clip, kept on disk and read memory-mapped."""

    def __init__(self, classifier: Classifier, folder: Path) -> None:
        self.classifier = classifier
        self.cache = ArrayCache(folder)
        self.fingerprint = json.dumps(traits_of(classifier), sort_keys=True)

    def predict(self, keys: Sequence[str], log_magnitude: Tensor, phase: Tensor | None) -> Prediction:
        clips = [None if phase is None else one[None] for one in (log_magnitude if phase is None else phase)]
        stored = [self._clip(key, log_magnitude[i : i + 1], clips[i]) for i, key in enumerate(keys)]
        parts = [torch.stack(part).to(log_magnitude.device) for part in zip(*stored, strict=True)]
        kind = self.classifier
        return Prediction(
            parts[0], tuple(parts[1:]), multi_label=kind.multi_label, stretched=kind.stretched, phase=phase
        )

    def _clip(self, key: str, log_magnitude: Tensor, phase: Tensor | None) -> list[Tensor]:
        computed: list[Prediction] = []

        def compute(part: int) -> np.ndarray:
            if not computed:
                with torch.no_grad():
                    computed.append(self.classifier.predict(log_magnitude, phase=phase))
            prediction = computed[0]
            values = (prediction.logits, *prediction.representations)[part]
            return values[0].float().cpu().contiguous().numpy()

        count = 1 + len(self.classifier.representation_channels)
        name = f"{self.fingerprint}|{key}"
        arrays = [self.cache.get(f"{name}|{part}", name, partial(compute, part)) for part in range(count)]
        return [torch.from_numpy(array.copy()) for array in arrays]
