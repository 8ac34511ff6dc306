"""Training and test of interpreters: the steps that all methods share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.fingerprint import digest
from otoscope.data import Batch, batch_of
from otoscope.errors import CheckpointError, ConfigurationError, listed
from otoscope.explain import Explainer
from otoscope.files.array_cache import default_cache_folder
from otoscope.interpreters import Interpreter, save_interpreter
from otoscope.loading import load_classifier, load_interpreter
from otoscope.methods import title_of
from otoscope.metrics import MeanScores, scores_shown
from otoscope.scoring import CONTROLS, score_against_controls, score_prediction
from otoscope.training.representations import RepresentationCache
from otoscope.training.seam import ReferenceSteps, stage_name
from otoscope.training.task import Schedule, TrainingTask

ClassifierSource = list[str] | str | Classifier | Path
"""Classifier, its source, or several sources of which the first that exists is taken."""
_EXPLAINED = "explained_classifier"
"""Key of checkpoints: fingerprint of the classifier's weights."""
_DECISION_SCORES = scores_shown("training", truth=False)
_TRUTH_SCORES = scores_shown("training", truth=True)


@dataclass
class Interpretation:
    """Result of `InterpreterBrain.compute_forward`.

    Attributes:
        spectrogram: Spectrogram of the clips; its phase only where it is needed.
        prediction: Prediction of the frozen classifier.
        decoded: Result of the interpreter's `decode`.
        clean: Log magnitude of `Batch.clean`, if there is one. Shape (batch, frequency, time).
        masked_logits: Logits of evidence and remainder, if the loss needs them. Shape (2, batch, classes).
    """

    spectrogram: Spectrogram
    prediction: Prediction
    decoded: Any
    clean: Tensor | None = None
    masked_logits: Tensor | None = None

    @property
    def masked_probabilities(self) -> Tensor | None:
        """Class probabilities of evidence and remainder, if the loss needs them. Shape (2, batch, classes)."""
        if self.masked_logits is None:
            return None
        return replace(self.prediction, logits=self.masked_logits).probabilities


class InterpreterBrain(ReferenceSteps, TrainingTask):
    """Training of an interpreter of a frozen classifier; the best checkpoint has the lowest validation loss.

    Args:
        classifier: Classifier, or its source: a model folder, ``owner/name`` on the hub, or a model that
            SpeechBrain published or trained. Of a list of sources, the first that exists is taken.
        interpreter: Function that makes the interpreter from the classifier.
        published: Source of a published interpreter, which a test alone evaluates if nothing has been trained.
        cache_representations: Whether to compute the classifier's prediction for a clip once and store it, about
            1 MB per clip for the published classifier. It saves time from the second epoch on.
        cache_folder: Folder of the stored predictions (default: the user's cache folder).
        schedule: Schedule of the learning rate.
        **training: See `TrainingTask`.
    """

    statistic_names: tuple[str, ...] = ("acc",)
    """Names of the values that `statistics` returns."""

    def __init__(
        self,
        classifier: ClassifierSource,
        interpreter: Callable[[Classifier], Interpreter[Any]],
        published: list[str] | str | None = None,
        cache_representations: bool = False,
        cache_folder: str | os.PathLike[str] | None = None,
        schedule: Schedule = "plateau",
        **training: Any,
    ) -> None:
        super().__init__(schedule=schedule, **training)
        if not isinstance(classifier, Classifier):
            classifier = load_classifier(classifier)
            if classifier.normalized_by_default:
                # Trainings give the networks clips at a peak of 1, also a classifier from SpeechBrain.
                classifier.normalize = True
        # in a list, so that it is neither a submodule nor part of the state_dict
        self._frozen = [classifier.freeze()]
        # The weights at the start depend on the seed only, not on random numbers that were drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.interpreter = interpreter(classifier)
        self.labels = classifier.labels
        self.published = published
        self._class_indices: Tensor | None = None
        self._representations: RepresentationCache | None = None
        if cache_representations:
            folder = Path(cache_folder) if cache_folder else default_cache_folder()
            self._representations = RepresentationCache(classifier, folder / "representations")
        self._valid_scores = self._new_valid_scores()
        self._test_scores: dict[str, MeanScores] = {}
        self._test_statistics = MeanScores(self.statistic_names)
        self.extra_results: dict[str, Any] = {}
        """Results of callbacks at test, by name; they become part of the report."""

    def _new_valid_scores(self) -> MeanScores:
        return MeanScores([*_DECISION_SCORES, *self.interpreter.own_score_names])

    @property
    def classifier(self) -> Classifier:
        """Frozen classifier; not part of the ``state_dict``."""
        return self._frozen[0]

    @property
    @override
    def frontend(self) -> Frontend:
        return self.classifier.frontend

    @property
    def explainer(self) -> Explainer:
        """Classifier and interpreter in their present state, in evaluation mode and without gradients."""
        return Explainer(self.classifier, self.interpreter)

    @contextlib.contextmanager
    def explaining(self) -> Iterator[Explainer]:
        """Give the `explainer` inside a ``with`` block, and restore the training afterwards."""
        # An explainer freezes the interpreter and puts it into evaluation mode. Parameters that were frozen before
        # must stay so.
        training = self.training
        trainable = [parameter for parameter in self.interpreter.parameters() if parameter.requires_grad]
        try:
            yield self.explainer
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)
            self.train(training)

    def adapt_to(self, labels: Sequence[str]) -> None:
        """Check that the classifier knows the labels of the data set.

        Raises:
            ConfigurationError: The classifier does not know all of them.
        """
        if unknown := [label for label in labels if label not in self.labels]:
            raise ConfigurationError(
                f"classifier: it does not know {listed(unknown)} of the data set; train it on this data set, or "
                "choose classes that it knows"
            )
        # The data set may have fewer classes than the classifier, or in another order.
        self._class_indices = torch.tensor([self.labels.index(label) for label in labels])

    @override
    def open_published(self, checkpoint: Path) -> bool:
        if self.published is None:
            return False
        sources = [self.published] if isinstance(self.published, str) else self.published
        # The checkpoint does not exist; it is listed so that the report says why the published model is taken.
        interpreter, classifier = load_interpreter([checkpoint, *sources])
        if not isinstance(interpreter, type(self.interpreter)):
            raise ConfigurationError(
                f"published: {', '.join(sources)} holds {type(interpreter).__name__}, not "
                f"{type(self.interpreter).__name__}"
            )
        self.interpreter, self._frozen = interpreter, [classifier.freeze()]
        self.labels, self._valid_scores = classifier.labels, self._new_valid_scores()
        return True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record which classifier the interpreter explains."""
        checkpoint[_EXPLAINED] = digest(self.classifier)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the interpreter was trained to explain this classifier.

        Raises:
            CheckpointError: It was trained to explain another one.
        """
        # Without the record, the checkpoint is that of an earlier version.
        if checkpoint.get(_EXPLAINED, explained := digest(self.classifier)) != explained:
            raise CheckpointError(
                "classifier: the checkpoint belongs to another classifier than the one that is taken now; name the "
                "former one by --model.classifier, or choose another --output_folder to start a new run"
            )

    def compute_forward(self, batch: Any, stage: object) -> Interpretation:
        """Run front-end, frozen classifier and interpreter, each once.

        Args:
            batch: Clips; see `otoscope.data.batch_of`.
            stage: ``train``, ``valid`` or ``test``; see `stage_name`.
        """
        batch, stage = batch_of(batch), stage_name(stage)
        frontend = self.classifier.frontend
        # Most losses turn no mask into sound. Their trainings leave out the phase: it takes longer than the STFT.
        with_phase = self.classifier.needs_phase or self.interpreter.needs_phase or stage == "test"
        spectrogram = frontend(batch.waveform, batch.lengths if batch.padded else None, with_phase=with_phase)
        prediction = self._predict(batch, spectrogram, stage)
        # Loss and masks are both computed from this one result.
        decoded = self.interpreter.decode(spectrogram, prediction)
        clean = None if batch.clean is None else frontend.log_magnitude(batch.clean)
        return Interpretation(spectrogram, prediction, decoded, clean)

    def compute_objectives(self, predictions: Interpretation, batch: Any, stage: object) -> Tensor:
        """Return the loss of the batch, logged term by term; arguments as of `compute_forward`."""
        return self.total(self.loss_terms(predictions), stage_name(stage), len(batch_of(batch)))

    def forward_pass(self, batch: Batch, stage: str) -> Interpretation:
        """Return what training, validation and test go on with: the result of `compute_forward`."""
        return self.compute_forward(batch, stage)

    def statistics(self, forward: Interpretation, batch: Batch) -> dict[str, Tensor]:
        """Return values of each clip whose means stand beside loss and scores.

        Returns:
            ``acc``: 1 where the classifier is right, else 0. Shape (batch,) each.
        """
        target = batch.target
        if self._class_indices is not None:
            target = self._class_indices.to(target.device)[target]
        return {"acc": (forward.prediction.predicted == target).float()}

    def loss_terms(self, forward: Interpretation) -> Mapping[str, Tensor]:
        """Return the terms of the interpreter's loss; override it for a loss that needs more."""
        return self.interpreter.loss(forward.decoded, forward.spectrogram, forward.prediction)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a batch."""
        forward = self.forward_pass(batch, "train")
        self._log_statistics(forward, batch, "train")
        return self.compute_objectives(forward, batch, "train")

    def validation_step(self, batch: Batch, index: int) -> None:
        """Log the loss, and collect the scores of the method without controls."""
        forward = self.forward_pass(batch, "valid")
        self._log_statistics(forward, batch, "valid")
        self.compute_objectives(forward, batch, "valid")
        self._collect_validation_scores(forward)

    def _collect_validation_scores(self, forward: Interpretation) -> None:
        mask = self.interpreter.mask(forward.decoded, forward.spectrogram)
        # No controls, which would multiply the time of a validation. For L-MAC the loss has already classified the
        # masked clips.
        scores = score_prediction(
            self.classifier,
            forward.spectrogram,
            forward.prediction,
            mask,
            probabilities=forward.masked_probabilities,
        )
        self._valid_scores.update(scores | self.interpreter.own_scores(forward.decoded, forward.prediction))

    def on_validation_epoch_end(self) -> None:
        """Log the mean scores of the epoch."""
        means = self._valid_scores.compute()
        # A score that is defined for no clip has no mean.
        shown = {f"valid_{name}": value for name, value in means.items() if not torch.isnan(value)}
        self.log_dict(shown, sync_dist=False)
        self._valid_scores.reset()

    def on_test_epoch_start(self) -> None:
        """Discard the scores of an earlier test."""
        self._test_scores = {}
        self._test_statistics.reset()
        self.extra_results = {}

    def test_step(self, batch: Batch, index: int) -> None:
        """Log the loss, and collect the scores of the method and of every control."""
        forward = self.forward_pass(batch, "test")
        self._log_statistics(forward, batch, "test")
        if terms := self.loss_terms(forward):
            self.total(terms, "test", len(batch))
        method, masked = title_of(type(self.interpreter)), forward.masked_probabilities
        scores = score_against_controls(
            self.classifier,
            forward.spectrogram,
            forward.prediction,
            {method: self.interpreter.mask(forward.decoded, forward.spectrogram)},
            batch.name,
            batch.waveform,
            batch.event,
            seed=self.seed,
            probabilities={} if masked is None else {method: masked},
        )
        scores[method] |= self.interpreter.own_scores(forward.decoded, forward.prediction)
        for row, values in scores.items():
            names = _DECISION_SCORES + (_TRUTH_SCORES if batch.event is not None else [])
            names += [name for name in self.interpreter.own_score_names if name in values]
            means = self._test_scores.setdefault(row, MeanScores(names).to(self.device))
            means.update(values)

    def report(self, folder: Path) -> dict[str, Any]:
        """Return the table of mean scores: the method, then its controls."""
        # by kind, not by the order of the first batch, which has no ideal mask if its clips have no event
        order = [name for name in self._test_scores if name not in CONTROLS]
        order += [name for name in CONTROLS if name in self._test_scores]
        means = {name: self._test_scores[name].compute() for name in order}
        scores = {name: {key: float(value) for key, value in row.items()} for name, row in means.items()}
        statistics = {name: float(value) for name, value in self._test_statistics.compute().items()}
        return {**statistics, "scores": scores, **self.extra_results}

    @override
    def export(self, folder: Path, **extra: Any) -> Path:
        return save_interpreter(self.interpreter, self.classifier, folder, **extra)

    def _log_statistics(self, forward: Interpretation, batch: Batch, stage: str) -> None:
        values = self.statistics(forward, batch)
        if stage == "test":
            self._test_statistics.update(values)
        means = {f"{stage}_{name}": value.mean() for name, value in values.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)

    def _predict(self, batch: Batch, spectrogram: Spectrogram, stage: str) -> Prediction:
        # Validation and test compare probabilities before and after masking. Those of the cache were computed clip
        # by clip and differ by rounding from those of a batch, so only training reads the cache.
        if self._representations is not None and spectrogram.frames is None and stage == "train":
            return self._representations.predict(batch.key, spectrogram)
        with torch.no_grad():
            return self.classifier.predict(spectrogram)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move or convert the frozen classifier together with the interpreter."""
        # `to`, `double` and so on end here, but do not reach the classifier, which is no submodule.
        self.classifier._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Any:
        """Set the mode of the interpreter; the classifier stays in evaluation mode."""
        self.classifier.eval()
        return super().train(mode)
