"""Make the gallery of explanations, ``docs/gallery``: ``python docs/make_gallery.py``.

Everything is computed from the bundled model, the sample recordings and seeded synthetic sounds. The sounds are
saved as MP3, which browsers play and which, unlike Ogg, holds no random serial number: a second run writes the same
files.
"""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from PIL import Image
from torch import Tensor, nn

import otoscope
from otoscope.audio import levelled, load_audio
from otoscope.data.synthetic.scenes import SyntheticScenes
from otoscope.interpreters import make_untrained
from otoscope.models import sample_recordings

FOLDER = Path(__file__).parent / "gallery"
RATE_HZ = 16_000
PICTURE_WIDTH = 1100
HEAD = """# Gallery

Twelve recordings and their explanations. Listen to the evidence first: does it contain the sound that the label
names? Then listen to the remainder: does it contain that sound too? Evidence and remainder are played as loud as
the recording, and the [verdict](../verdict.md) stands beside each. Of the twelve explanations, {failures} not
supported, and {says} so.

The recordings are the sample recordings of the package (ESC-10, CC BY 3.0; their authors are listed in the file
`NOTICE`), mixtures of them, and synthetic sounds. `make gallery` makes this page. A
second one shows [audits](audit.md): classifiers that listen to the recorder, and one that does not.
"""


@dataclass(frozen=True)
class Exhibit:
    """One recording of the gallery.

    Attributes:
        title: Heading.
        remark: What to listen for.
        waveform: Recording, mono. Shape (samples,).
        explainer: Classifier and method.
        target: Class to explain; None for the predicted one.
    """

    title: str
    remark: str
    waveform: Tensor
    explainer: otoscope.Explainer
    target: str | None = None

    @property
    def name(self) -> str:
        """Name of its files."""
        return "-".join(self.title.lower().replace(",", "").split())


class TwoBands(nn.Module):
    """Classifier whose weights are set by hand: more sound below or above 2 kHz."""

    def forward(self, log_magnitude: Tensor) -> Tensor:
        """Return the logits of ``low`` and ``high``, shape (batch, 2)."""
        rows = log_magnitude.mean((1, 3))
        return torch.stack([rows[:, :128].sum(1), rows[:, 128:].sum(1)], dim=1) / 2


def make_exhibits() -> Iterator[Exhibit]:
    """Yield the recordings in the order of the page."""
    samples = {sample.name: load_audio(sample.path, RATE_HZ) for sample in sample_recordings()}
    gradients, trained = otoscope.load(), otoscope.load(method="lmac")
    rooster, dog, baby = samples["rooster"], samples["dog"], samples["crying_baby"]
    rain = samples["rooster_in_rain"]
    yield Exhibit("Rooster", "The crow, without the background.", rooster, gradients)
    yield Exhibit(
        "Rooster, by the bundled interpreter",
        "The same recording by the trained interpreter that comes with the package.",
        rooster,
        trained,
    )
    yield Exhibit("Dog", "The barks.", dog, gradients)
    yield Exhibit("Crying baby", "The cries.", baby, gradients)
    yield Exhibit("Rooster in rain", "A mixture. Which parts speak for the rooster?", rain, gradients, "rooster")
    yield Exhibit(
        "Rain behind a rooster", "The same mixture. Which parts speak for the rain?", rain, gradients, "rain"
    )
    yield Exhibit("Dog in white noise", "Noise as strong as the recording was added.", add_noise(dog), gradients)
    yield Exhibit(
        "Dog and baby",
        "Two samples added. Which parts speak for the baby?",
        mix(dog, baby),
        gradients,
        "crying_baby",
    )
    yield Exhibit(
        "A helicopter among barks",
        "There is none. Asked for what speaks for one, the method still finds something.",
        dog,
        gradients,
        "helicopter",
    )
    yield Exhibit(
        "Noise alone",
        "There is no right answer: the classifier knows only its ten classes.",
        0.1 * seeded_noise(5 * RATE_HZ),
        gradients,
    )
    yield from make_own_exhibits()


def make_own_exhibits() -> Iterator[Exhibit]:
    """Yield explanations of a classifier that does not come with the package."""
    classifier = otoscope.TorchClassifier(TwoBands(), ["low", "high"])
    time_s = torch.arange(3 * RATE_HZ) / RATE_HZ
    tone = 0.1 * torch.sin(2 * torch.pi * 500 * time_s)
    whistles = 0.4 * torch.sin(2 * torch.pi * 4000 * time_s) * (torch.sin(2 * torch.pi * time_s) > 0)
    remark = (
        "A classifier that asks for more sound below or above 2 kHz hears a tone at 500 Hz and whistles at 4 kHz."
    )
    by_gradients = otoscope.Explainer(classifier, make_untrained("integrated_gradients", classifier))
    yield Exhibit("Your own classifier", remark, tone + whistles, by_gradients)
    birds = SyntheticScenes(1, ["chirping_birds"], duration_s=3.0, seed=4)[0].mixture
    by_occlusion = otoscope.Explainer(classifier, make_untrained("occlusion", classifier))
    yield Exhibit(
        "Synthetic birds", "The same classifier, explained by hiding parts of the sound.", birds, by_occlusion
    )


def seeded_noise(samples: int) -> Tensor:
    """Return white noise, the same in every run."""
    return torch.randn(samples, generator=torch.Generator().manual_seed(0))


def add_noise(waveform: Tensor) -> Tensor:
    """Return a recording with white noise of the same norm, at a peak of 0.9."""
    noise = seeded_noise(len(waveform))
    return at_peak(waveform + noise * waveform.norm() / noise.norm())


def mix(first: Tensor, second: Tensor) -> Tensor:
    """Return the sum of two recordings of equal peaks, at a peak of 0.9."""
    length = min(len(first), len(second))
    return at_peak(at_peak(first)[:length] + at_peak(second)[:length])


def at_peak(waveform: Tensor) -> Tensor:
    """Return a waveform with a peak of 0.9."""
    return 0.9 * waveform / waveform.abs().max()


def write_exhibit(exhibit: Exhibit, folder: Path) -> tuple[str, str]:
    """Write sounds and picture of a recording.

    Returns:
        The part of the page about it, and the level of the verdict.
    """
    explanation = exhibit.explainer.explain(exhibit.waveform, exhibit.target, name=exhibit.title)
    verdict = explanation.verdict
    assert verdict is not None  # scores are computed
    players = []
    sounds = {
        "recording": explanation.original,
        "evidence": explanation.evidence,
        "remainder": explanation.remainder,
    }
    for name, sound in sounds.items():
        path = folder / f"{exhibit.name}-{name}.mp3"
        audible = levelled(sound, at_peak(explanation.original), RATE_HZ)
        soundfile.write(
            path, audible.numpy(), RATE_HZ, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.6
        )
        audio = f'<audio controls preload="none" src="files/{path.name}"></audio>'
        players.append(f"<figure><figcaption>{name}</figcaption>{audio}</figure>")
    write_picture(explanation, folder / f"{exhibit.name}.webp")
    probability = explanation.probabilities[explanation.label]
    decision = f"{explanation.label} (p = {probability:.2f}), {explanation.method}"
    notes = "".join(f"\n<p>Note: {html.escape(note)}.</p>" for note in explanation.notes)
    part = f"""
## {exhibit.title}

{exhibit.remark}

<div class="exhibit">
<p><strong>{html.escape(decision)}</strong></p>
<div class="players">{"".join(players)}</div>
<p class="verdict">{html.escape(str(verdict))}.</p>{notes}
<img src="files/{exhibit.name}.webp" alt="Spectrograms of {html.escape(exhibit.title.lower())}, with the mask">
</div>
"""
    return part, verdict.level


def write_picture(explanation: otoscope.Explanation, path: Path) -> None:
    """Write the picture of an explanation in a size for the page."""
    buffer = io.BytesIO()
    explanation.plot().savefig(buffer, format="png", dpi=120)
    with Image.open(buffer) as picture:
        height = round(picture.height * PICTURE_WIDTH / picture.width)
        small = picture.convert("RGB").resize((PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    small.save(path, quality=60, method=6)


def main(exhibits: Callable[[], Iterator[Exhibit]] = make_exhibits, folder: Path = FOLDER) -> None:
    """Write the page and its files."""
    files = folder / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    parts, levels = [], []
    for exhibit in exhibits():
        part, level = write_exhibit(exhibit, files)
        parts.append(part)
        levels.append(level)
        print(f"{exhibit.title}: {level}", flush=True)
    failures = levels.count("not supported")
    words = (
        {"failures": "one is", "says": "says"} if failures == 1 else {"failures": f"{failures} are", "says": "say"}
    )
    (folder / "index.md").write_text(HEAD.format(**words) + "".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
