"""What scores mean, in a sentence for readers."""

from __future__ import annotations

from otoscope.metrics import SCORES

_SENTENCES = {
    "AI": "share of clips on which the evidence alone gets a higher probability than the whole recording",
    "AD": "how much of the probability is lost when only the evidence is heard",
    "AG": "how much of the possible rise the probability gains when only the evidence is heard",
    "FF": "probability of the recording minus that of the remainder: what removing the evidence costs",
    "Fid-In": "whether the evidence alone gets the same class as the recording",
    "MM": "mean of the mask: the share of the sound that it keeps; neither high nor low is better by itself",
    "SPS": "sparseness: 1 if a single bin holds the whole mask, 0 if all bins are equal",
    "COMP": "complexity: entropy of the mask; low if few bins hold most of it",
    "p_evidence": "probability of the explained class when only the evidence is heard",
    "p_remainder": "probability of the explained class when only the remainder is heard",
    "IoU": "overlap of the mask with the true place of the sound: intersection over union",
    "AUROC": "how well the mask ranks the bins of the true sound above the others; 0.5 by chance",
    "SI-SDRi": "how much closer the evidence is to the true sound than the recording is",
    "insertion": "mean probability while the most important bins are added one after the other",
    "deletion": "mean probability while the most important bins are removed one after the other",
}


def meaning(name: str) -> str:
    """Return what a score means, with its unit and direction.

    Args:
        name: Name of a score.

    Example:
        >>> meaning("AD")
        'Average drop (%): how much of the probability is lost when only the evidence is heard. Lower is better.'
        >>> meaning("ROAD")[:40]
        'Probability without the least relevant b'
    """
    score = SCORES[name]
    title = score.title[:1].upper() + score.title[1:]
    unit = f" ({score.unit})" if score.unit else ""
    sentence = f": {_SENTENCES[name]}" if name in _SENTENCES else ""
    direction = "" if score.better == "neither" else f" {score.better.capitalize()} is better."
    return f"{title}{unit}{sentence}.{direction}"
