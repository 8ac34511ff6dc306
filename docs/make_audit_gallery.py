"""Make the gallery of audits, ``docs/gallery/audit.md``: ``python docs/make_audit_gallery.py``.

Classifiers of generated animal sounds: three learnt to listen to a cue of one recorder, and one did not. Everything
is seeded.
"""

from __future__ import annotations

import html
import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import otoscope
from otoscope.audio import levelled, load_audio
from otoscope.audit.explained import with_evidence
from otoscope.audit.result import AuditResult, ClassFigures
from otoscope.audit.run import run_audit
from otoscope.audit.settings import AuditSettings
from otoscope.data import PlantedCues, Synthetic
from otoscope.report.audit import lead_of
from otoscope.report.audit_charts import evidence_sentences

FOLDER = Path(__file__).parent / "gallery"
RATE_HZ, LABELS = 16_000, ["rooster", "dog", "crying_baby"]
HEAD = """# Gallery of audits

Four classifiers of animal sounds, and what `otoscope audit` says about each. Three of them learnt from recordings
in which the folder `rooster` holds everything from one recorder, and this recorder adds a sound of its own; the
fourth learnt from recordings without it. Listen: with the cue, another animal is taken for a rooster.

The classifiers are small networks, the sounds are generated. [Audit](../audit.md) explains what is tested and what
the verdicts mean; the [tutorial](../tutorials/audit.ipynb) repairs the data of the first one. `make gallery` makes
this page.
"""
SOUNDS = {
    "clip": "a rooster",
    "without the cue": "the cue removed",
    "what was removed": "the cue alone",
    "other clip": "another animal",
    "other clip with the cue": "the cue added",
}


@dataclass(frozen=True)
class Exhibit:
    """Classifier of the gallery.

    Attributes:
        title: Heading.
        remark: What was planted.
        cue: Kind of the cue and its options; None: there is none.
    """

    title: str
    remark: str
    cue: dict[str, Any] | None

    @property
    def name(self) -> str:
        """Name of its files."""
        return "-".join(self.title.lower().split())


EXHIBITS = (
    Exhibit("A whistle", "The recorder whistles at about 3150 Hz.", {"kind": "tone", "level_db": -14}),
    Exhibit("A hiss", "The recorder hisses between 6.1 and 6.9 kHz.", {"kind": "hiss", "level_db": -12}),
    Exhibit("A beep at the start", "The recorder beeps when it is switched on.", {"kind": "beep", "level_db": -4}),
    Exhibit("No cue", "The same sounds and labels without a recorder of its own.", None),
)


class MeanSpectrum(nn.Module):
    """Small network of the mean spectrum."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(513, 16), nn.ReLU(), nn.Linear(16, len(LABELS)))

    def forward(self, log_magnitude: Tensor) -> Tensor:
        """Return the logits, shape (batch, classes)."""
        logits: Tensor = self.layers(log_magnitude.mean((1, 3)))
        return logits


def audited(exhibit: Exhibit, folder: Path) -> AuditResult:
    """Train a classifier and return its audit."""
    options = {"clips_per_class": 80, "classes": LABELS, "duration_s": 1.0, "snr_db": (0.0, 8.0)}
    data: PlantedCues | Synthetic = Synthetic(**options)
    if exhibit.cue is not None:
        cues = {"rooster": exhibit.cue}
        data = PlantedCues(cues, of="Synthetic", of_options=options, relabelled=0.4, test="planted")
    data.setup("fit")
    classifier = train([data.train_set[index] for index in range(len(data.train_set))], data.labels)
    test_clips = [data.test_set[index] for index in range(len(data.test_set))]
    result = run_audit(classifier, test_clips, data.labels, folder, AuditSettings(quick=True))
    return with_evidence(result, classifier, test_clips, data.labels, progress=False)


def train(clips: list[Any], labels: list[str]) -> otoscope.TorchClassifier:
    """Return a classifier that has learnt clips."""
    torch.manual_seed(0)
    network, frontend = MeanSpectrum(), otoscope.Frontend(RATE_HZ)
    spectra = frontend(torch.stack([clip.waveform for clip in clips])).log_magnitude.mean(2)
    targets = torch.tensor([clip.target for clip in clips])
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(400):
        loss = nn.functional.cross_entropy(network.layers(spectra), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    classifier = otoscope.TorchClassifier(network, labels)
    classifier.normalize = True
    return classifier


def write_exhibit(exhibit: Exhibit, result: AuditResult, folder: Path) -> str:
    """Write sounds and picture of an audit, and return its part of the page."""
    lead = lead_of(result)
    players = ""
    suspects = [suspect for suspect in result.suspects if suspect.verdict in ("shortcut", "unclear")][:1]
    for suspect in suspects:
        reference = load_audio(Path(str(result.folder)) / suspect.sounds["clip"], RATE_HZ)
        for name, title in SOUNDS.items():
            if name not in suspect.sounds:
                continue
            sound = load_audio(Path(str(result.folder)) / suspect.sounds[name], RATE_HZ)
            path = folder / f"{exhibit.name}-{name.replace(' ', '-')}.mp3"
            audible = levelled(sound, 0.9 * reference / reference.abs().max(), RATE_HZ)
            soundfile.write(
                path, audible.numpy(), RATE_HZ, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.6
            )
            audio = f'<audio controls preload="none" src="audits/{path.name}"></audio>'
            players += f"<figure><figcaption>{title}</figcaption>{audio}</figure>"
    rooster = next(figures for figures in result.classes if figures.label == "rooster")
    write_picture(rooster, folder / f"{exhibit.name}.webp")
    findings = "".join(f"<li>{html.escape(text)}</li>" for text in evidence_sentences(rooster.evidence)[:1])
    sentences = "".join(f"<p>{html.escape(suspect.sentence)}.</p>" for suspect in suspects)
    accuracy = f"The classifier is right about {100 * result.conditions['accuracy']:.0f} % of the clips."
    described = "Evidence for rooster over frequency and over time, beside the sound itself"
    return f"""
## {exhibit.title}

{exhibit.remark}

<div class="exhibit">
<p class="verdict"><strong>{html.escape(lead.title)}.</strong> {accuracy}</p>
{sentences}
<div class="players">{players}</div>
<ul>{findings}</ul>
<img src="audits/{exhibit.name}.webp" alt="{described}">
</div>
"""


def write_picture(figures: ClassFigures, path: Path) -> None:
    """Write the evidence of a class over frequency and over time, beside the sound, in a size for the page."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    evidence = figures.evidence
    assert evidence is not None
    axes = figure.subplots(1, 2)
    for axis, curve, label in zip(
        axes, (evidence.frequency, evidence.time), ("frequency (kHz)", "time (s)"), strict=True
    ):
        edges = np.asarray(curve.edges) / (1000 if curve.unit == "Hz" else 1)
        axis.stairs(
            100 * np.asarray(curve.evidence), edges, fill=True, color="#0072b2", alpha=0.75, label="evidence"
        )
        axis.stairs(100 * np.asarray(curve.sound), edges, color="black", linestyle="--", label="the sound itself")
        axis.set_xlabel(label)
        axis.set_ylabel("share (%)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    with Image.open(buffer) as picture:
        picture.convert("RGB").save(path, quality=70, method=6)


def pages(exhibits: Iterator[Exhibit] | tuple[Exhibit, ...], folder: Path) -> Iterator[str]:
    """Yield the part of each classifier."""
    for exhibit in exhibits:
        with tempfile.TemporaryDirectory() as place:
            result = audited(exhibit, Path(place))
            print(f"{exhibit.title}: {result.verdict}", flush=True)
            yield write_exhibit(exhibit, result, folder)


def main(exhibits: tuple[Exhibit, ...] = EXHIBITS, folder: Path = FOLDER) -> None:
    """Write the page and its files."""
    files = folder / "audits"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    parts = list(pages(exhibits, files))
    (folder / "audit.md").write_text(HEAD + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
