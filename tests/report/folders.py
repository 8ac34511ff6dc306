"""Folders of results as `otoscope explain` and `otoscope evaluate` write them, made without a model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from otoscope.audit.evidence import ClassEvidence, Cluster, Example, Neighbour, OutsideShare, ProfileCurve, Span
from otoscope.audit.result import AuditResult, ClassFigures, Effect, Place, Suspect
from otoscope.recordings import Event, Timeline

RATE_HZ = 16_000
HOSTILE = "<img src=x onerror=alert(1)>"
"""Label that would run a script if it became markup."""


def sounds(seconds: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return recording, evidence and remainder: a sweep, a tone of its middle, and the rest."""
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(len(time))
    evidence = 0.3 * np.sin(2 * np.pi * 1000 * time) * ((time > 0.3 * seconds) & (time < 0.6 * seconds))
    remainder = 0.05 * noise
    return tuple(part.astype(np.float32) for part in (evidence + remainder, evidence, remainder))


def content(
    name: str, label: str = "dog", level: str = "supported", p: float = 0.8, **changes: Any
) -> dict[str, Any]:
    """Return the content of ``explanation.json``."""
    scores = {"AI": 0.0, "AD": 10.0, "FF": 0.6, "Fid-In": 1.0, "MM": 0.1, "p_evidence": 0.7, "p_remainder": 0.2}
    return {
        "name": name,
        "method": "saliency",
        "label": label,
        "predicted": label,
        "probabilities": {label: p, "cat & <dog>": round(1 - p, 3)},
        "evidence_probabilities": {label: 0.7, "cat & <dog>": 0.3},
        "remainder_probabilities": {label: 0.2, "cat & <dog>": 0.8},
        "verdict": {"level": level, "reasons": [f"the evidence alone keeps {label}", "without it 0.20"]},
        "scores": scores,
        "controls": {"random": {**scores, "p_evidence": 0.1}, "loudest": scores},
        "sufficient": 0.05,
        "necessary": 0.125,
        "decisive": 0.125,
        "curve": {
            "evidence": [{"area": 0.01, "p": 0.2}, {"area": 0.1, "p": 0.7}],
            "remainder": [{"area": 0.1, "p": 0.2}],
        },
        "sample_rate_hz": RATE_HZ,
        "duration_s": 1.0,
        "notes": ["a note </script><script>alert(2)</script>"],
        "source": {"recording": {"path": f"{name}.wav"}, "model": "0123456789abcdef", "options": {"target": None}},
        **changes,
    }


def save_clip(folder: Path, values: dict[str, Any], with_mask: bool = True, seed: int = 0) -> Path:
    """Write the folder of an explanation."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sound in zip(("original", "interpretation", "remainder"), sounds(seed=seed), strict=True):
        soundfile.write(folder / f"{name}.wav", sound, RATE_HZ, subtype="FLOAT")
    if with_mask:
        mask = np.zeros((513, 87), np.float16)
        mask[50:80, 26:52] = 1
        np.savez_compressed(folder / "mask.npz", mask=mask)
    (folder / "explanation.json").write_text(json.dumps(values))
    return folder


def save_long(folder: Path, label: str = "dog") -> Path:
    """Write the folder of a long recording of 30 s with three events."""
    folder.mkdir(parents=True, exist_ok=True)
    recording, evidence, remainder = sounds(30.0)
    soundfile.write(folder.parent / f"{folder.name}.wav", recording, RATE_HZ)
    soundfile.write(folder / "evidence.flac", evidence, RATE_HZ)
    soundfile.write(folder / "remainder.flac", remainder, RATE_HZ)
    times = [(2.0, 4.0, "cat"), (10.0, 15.0, label), (20.0, 21.0, "cat")]
    events = [
        Event(
            "long.wav",
            name,
            begin,
            end,
            0.6 + 0.1 * i,
            0.5,
            begin,
            end,
            low_hz=800.0,
            high_hz=1200.0,
            verdict=level,
        )
        for i, ((begin, end, name), level) in enumerate(zip(times, ("supported", "partly", ""), strict=True))
    ]
    rng = np.random.default_rng(0)
    Timeline(
        file="long.wav",
        name=folder.name,
        method="saliency",
        labels=["cat", label],
        events=events,
        window_begins_s=np.arange(0, 27.5, 2.5),
        probabilities=rng.random((11, 2)).astype(np.float32),
        log_magnitude=rng.random((100, 400)).astype(np.float32),
        evidence_share=rng.random((100, 400)).astype(np.float32),
        start_s=0.0,
        duration_s=30.0,
        window_s=5.0,
        hop_s=2.5,
        min_confidence=0.5,
        low_confidence=0.25,
        explained_windows=3,
        sample_rate_hz=RATE_HZ,
    ).save(folder)
    return folder


def save_evaluation(folder: Path, leader: dict[str, object] | None = None) -> Path:
    """Write the folder of an evaluation of two methods, whose controls of own masks are equal."""
    leader = leader or {"best": "B", "not_told_from_it": ["A"]}

    def cell(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 8}

    means = {
        "A": cell(0.5),
        "random as A": cell(0.1),
        "B": cell(0.9),
        "random as B": cell(0.1),
        "loudest as B": cell(0.3),
    }
    rows = {name: {"AI": value, "FF": value} for name, value in means.items()}
    equal = {name: {"AI": cell(mean), "FF": cell(mean)} for name, mean in (("A", 0.4), ("B", 0.2), ("random", 0.1))}
    curve = {"mean": [0.1, 0.5, 0.9], "low": [0.0, 0.4, 0.8], "high": [0.2, 0.6, 1.0]}
    results = {
        "classifier": "Conv2dClassifier",
        "labels": ["cat", "dog"],
        "settings": {"areas": [0.2]},
        "conditions": {"clean": {"clips": 8, "recordings": 8, "accuracy": 0.75}},
        "scores": {"clean": {"own": {"heard": rows}, "0.2": {"mask": equal, "heard": equal}}},
        "leaders": {"clean": {"own": {"heard": {"AI": leader}}}},
        "curves": {"areas": [0.0, 0.5, 1.0], "clean": {"A": {"insertion": curve, "deletion": curve}}},
        "seconds_per_clip": {"A": {"mean": 0.1, "median": 0.1, "n": 8}},
        "skipped": {"methods": {"C": "its folder is missing"}},
        "sanity": {"A": {"verdict": "passes"}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def save_audit(folder: Path, verdict: str = "shortcut", label: str = "rain") -> Path:
    """Write the folder of an audit of two classes, the first with a verdict and a suspect."""
    folder.mkdir(parents=True, exist_ok=True)
    suspects = []
    if verdict in ("shortcut", "unclear"):
        recording, cue, rest = sounds()
        files = {"clip": recording, "without the cue": rest, "what was removed": cue}
        files |= {"other clip": rest, "other clip with the cue": rest + cue}
        for name, sound in files.items():
            soundfile.write(folder / f"{name}.wav", sound, RATE_HZ, subtype="FLOAT")
        suspects = [_suspect(label, verdict, {name: f"{name}.wav" for name in files})]
    suspects.append(_suspect("dog", "clean", {}))
    save_clip(folder / "examples" / "one", content("one", label))
    figures = [
        ClassFigures(label, 20, 18, 0.9, 0.05, verdict, f"{label}: see its suspects.", class_evidence(label)),
        ClassFigures("dog", 20, 20, 1.0, 0.0, "clean", "No cue of dog is suspicious."),
    ]
    AuditResult({"classifier": "Conv2dClassifier", "data": "sounds"}, figures, suspects).save(folder)
    return folder


def class_evidence(label: str) -> ClassEvidence:
    """Return the evidence of a class in two clusters, most of it about 1 kHz."""
    edges = [0.0, 500.0, 900.0, 1100.0, 2000.0, 8000.0]
    parts = {"evidence": [0.1, 0.1, 0.6, 0.1, 0.1], "low": [0.05, 0.05, 0.5, 0.05, 0.05]}
    parts |= {"high": [0.15, 0.15, 0.7, 0.15, 0.15], "sound": [0.3, 0.2, 0.1, 0.2, 0.2]}
    main, seconds = Span(900.0, 1100.0, 0.6, 0.1), [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    clusters = [Cluster(clips, clips / 20, main, None, parts["evidence"], "one", ["one"]) for clips in (15, 5)]
    return ClassEvidence(
        label,
        "integrated gradients",
        clips=20,
        recordings=18,
        decided=19,
        frequency=ProfileCurve(edges, main=main, overlap=0.6, unit="Hz", standout=main, **parts),
        time=ProfileCurve(seconds, main=Span(0.4, 0.6, 0.6, 0.1), overlap=0.6, unit="s", **parts),
        outside=OutsideShare(0.7, 0.6, 0.8, 0.9, 20, 18),
        nearest=Neighbour("dog", 0.1, 0.4),
        clusters=clusters,
        examples=[
            Example("one", "typical", 1, 15, 0.0, label, 0.9, "examples/one"),
            Example("two", "outlying", 2, 1, 0.5, "dog", 0.2, "examples/absent"),
        ],
        notes=["A note."],
    )


def _suspect(label: str, verdict: str, files: dict[str, str]) -> Suspect:
    removal = Effect(0.92, 0.9, -0.05, 0.02, 0.9, 20, 18, 0.5)
    transplant = Effect(0.02, 0.03, -0.02, 0.03, 0.02, 60, 50, 0.5)
    if verdict != "clean":
        removal = replace(removal, after=0.31, low=-0.75, high=-0.4, p_value=0.001)
        transplant = replace(transplant, after=0.78, low=0.6, high=0.9, p_value=0.001)
    return Suspect(
        label,
        "band",
        "the band 950-1050 Hz",
        Place(950.0, 1050.0),
        removal,
        transplant,
        level_db=-20.0,
        p_value=removal.p_value,
        q_value=0.01,
        verdict=verdict,
        sentence=f"class {label}: removing 950-1050 Hz takes accuracy from 92 to {100 * removal.after:.0f} %",
        sounds=files,
        sound_clips={"clip": "one", "other clip": "three"},
        side_effect_db=0.4,
    )
