"""Pictures: functions return a matplotlib figure or draw on given axes, and `save_picture` saves.

matplotlib is imported on first use.
"""

from otoscope.plots.cells import decibels
from otoscope.plots.components import components_picture, relevance_picture
from otoscope.plots.confusion import confusion_picture
from otoscope.plots.decision import SufficiencyCurve, draw_curve, draw_probabilities
from otoscope.plots.explanation import (
    ExplanationData,
    PanelName,
    draw_explanation_panels,
    explanation_picture,
)
from otoscope.plots.files import save_picture
from otoscope.plots.panels import maps_picture, spectra_picture
from otoscope.plots.pooling import ROWS, PooledSpectrogram
from otoscope.plots.spectrogram import draw_importance, draw_map, draw_mask, draw_spectrogram
from otoscope.plots.style import FrequencyAxis
from otoscope.plots.timeline import EventBox, timeline_picture

__all__ = [
    "ROWS",
    "EventBox",
    "ExplanationData",
    "FrequencyAxis",
    "PanelName",
    "PooledSpectrogram",
    "SufficiencyCurve",
    "components_picture",
    "confusion_picture",
    "decibels",
    "draw_curve",
    "draw_explanation_panels",
    "draw_importance",
    "draw_map",
    "draw_mask",
    "draw_probabilities",
    "draw_spectrogram",
    "explanation_picture",
    "maps_picture",
    "relevance_picture",
    "save_picture",
    "spectra_picture",
    "timeline_picture",
]
