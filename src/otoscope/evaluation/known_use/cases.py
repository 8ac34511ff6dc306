"""Clips of which it is known what the classifier uses: scenes of designed listeners, and verified planted cues."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from otoscope.classifiers import Classifier, ListenerClassifier
from otoscope.classifiers.listeners import AUDIBLE
from otoscope.data.planted import ListenerScenes, PlantedCues, Transfer
from otoscope.metrics.known_use import energy_truth


@dataclass(frozen=True, eq=False)
class Question:
    """A class to explain, and what the classifier uses for it.

    Attributes:
        target: Index of the class.
        truth: True in the bins that the decision for the class depends on. Shape (frequency, time).
        cue: Sound of the cue as loud as in the clip; None if the cue is the absence of sound. Shape (samples,).
    """

    target: int
    truth: Tensor
    cue: Tensor | None


@dataclass(frozen=True, eq=False)
class Case:
    """A clip with known use.

    Attributes:
        name: Name of the clip, unique in its group.
        waveform: Clip, shape (samples,).
        questions: Classes to explain: one, or two whose cues are present at once.
        recording: Recording that the clip was cut from, if it is known.
    """

    name: str
    waveform: Tensor
    questions: list[Question]
    recording: str | None = None


@dataclass
class Reliance:
    """How often a classifier is shown to rely on a planted cue.

    Attributes:
        label: Class of the cue.
        kind: Kind of the cue.
        tested: Number of clips of other classes, not taken for the class of the cue, to which the cue was added.
        flipped: Number of these that the classifier then takes for the class of the cue. They alone count.
        own_tested: Number of clips of the class that are recognised with their cue.
        own_lost: Number of these whose decision is lost when the cue is removed.
    """

    label: str
    kind: str
    tested: int = 0
    flipped: int = 0
    own_tested: int = 0
    own_lost: int = 0


@dataclass
class Group:
    """Cases of one listener or one cue.

    Attributes:
        name: Name in tables.
        classifier: Classifier that is explained.
        cases: Clips.
        reliance: Result of the interventions, for a planted cue.
    """

    name: str
    classifier: Classifier
    cases: list[Case] = field(default_factory=list)
    reliance: Reliance | None = None


def listener_groups(data: ListenerScenes, template: ListenerClassifier, count: int | None) -> Iterator[Group]:
    """Yield the scenes of each design with the listener that decides by it.

    Args:
        data: Scenes.
        template: Listener whose front-end and options, except the design, all listeners get.
        count: Largest number of scenes of each design (default: all).
    """
    for design in data.designs:
        options = template.config | {"design": design}
        listener = ListenerClassifier(None, template.frontend, **options).freeze()
        group = Group(design, listener)
        for scene in list(data.scenes(design))[:count]:
            questions = [
                Question(listener.index_of(label), scene.truth(label, listener.frontend, AUDIBLE), cue)
                for label, cue in scene.cues.items()
            ]
            group.cases.append(Case(scene.name, scene.waveform, questions))
        yield group


def planted_groups(data: PlantedCues, classifier: Classifier, count: int | None) -> Iterator[Group]:
    """Yield the clips of each cue on which the classifier is shown to rely.

    The cue is added to clips of other classes. A clip counts if the classifier then decides for the class of the
    cue and, without the cue, does not.

    Args:
        data: Data whose test clips get the cues.
        classifier: Classifier, trained on the cues.
        count: Number of clips of each cue, at which the search ends (default: all).
    """
    for label, cue in data.cues.items():
        reliance = Reliance(label, cue.kind)
        group = Group(f"{cue.kind} ({label})", classifier, reliance=reliance)
        for transfer in data.transfers(label):
            if count is not None and len(group.cases) >= count:
                break
            clean, planted = _decisions(classifier, transfer)
            if clean == transfer.target:
                continue  # the cue cannot flip a decision that is already so
            reliance.tested += 1
            if planted == transfer.target:
                reliance.flipped += 1
                group.cases.append(_case_of(classifier, transfer))
        for transfer in data.transfers(label, count, of_class=True):
            clean, planted = _decisions(classifier, transfer)
            reliance.own_tested += planted == transfer.target
            reliance.own_lost += planted == transfer.target != clean
        yield group


@torch.no_grad()
def _decisions(classifier: Classifier, transfer: Transfer) -> tuple[int, int]:
    """Return the predicted classes without and with the cue, both as recordings are classified."""
    device = classifier.frontend.window.device
    pair = torch.stack([transfer.clip.waveform, transfer.planted.waveform]).to(device)
    spectrogram = classifier.hear(pair, with_phase=classifier.needs_phase)
    without, with_cue = classifier.predict(spectrogram).predicted.tolist()
    return without, with_cue


def _case_of(classifier: Classifier, transfer: Transfer) -> Case:
    frontend, cue = classifier.frontend, transfer.planted.cue
    log_magnitude = frontend.log_magnitude(cue[None].to(frontend.window.device))
    truth = energy_truth(log_magnitude)[0].cpu()
    sound = None if transfer.cue.removes else cue
    question = Question(transfer.target, truth, sound)
    return Case(transfer.clip.name, transfer.planted.waveform, [question], transfer.clip.recording)


def groups_of(
    data: ListenerScenes | PlantedCues, classifier: Classifier, count: int | None = None
) -> Iterator[Group]:
    """Yield the groups of data with known use; see `listener_groups` and `planted_groups`."""
    if isinstance(data, PlantedCues):
        yield from planted_groups(data, classifier, count)
    else:
        template = classifier if isinstance(classifier, ListenerClassifier) else ListenerClassifier()
        yield from listener_groups(data, template, count)
