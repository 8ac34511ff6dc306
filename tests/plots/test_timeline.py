"""Timeline pictures: pooling, labels, and places of what is drawn."""

import numpy as np
import pytest

from otoscope.plots import EventBox, PooledSpectrogram, save_picture, timeline_picture
from otoscope.plots.timeline import MOST_LABELS, clock_text, shown_labels

LABELS = ["dog", "hen", "rain_on_$roof"]


@pytest.fixture
def draw():
    """Function that draws a timeline of an hour from some seconds on."""

    def draw(events, start_s=0.0, duration_s=3600.0, windows=200, labels=LABELS, axis="linear"):
        rng = np.random.default_rng(0)
        return timeline_picture(
            rng.random((65, 300)),
            rng.random((65, 300)),
            start_s + np.linspace(0, duration_s - 5, windows),
            rng.dirichlet(np.ones(len(labels)), windows),
            labels,
            events,
            start_s,
            duration_s,
            16_000,
            window_s=5.0,
            min_confidence=0.5,
            headline="night: 3 events",
            axis=axis,
        )

    return draw


@pytest.mark.parametrize("portion", [1, 7, 100, 10_000])
@pytest.mark.parametrize(("frames", "bins"), [(1000, 40), (30, 8), (1, 3)])
def test_pooling_is_that_of_a_slow_reference(frames, bins, portion):
    rng = np.random.default_rng(0)
    power = rng.random((bins, frames)).astype(np.float32)
    evidence = power * rng.random((bins, frames))
    pooled = PooledSpectrogram(frames, bins, columns=50, rows=10)
    for begin in range(0, frames, portion):
        part = slice(begin, begin + portion)
        # Portions without evidence are given none.
        pooled.add(begin, power[:, part], evidence[:, part] if begin % 2 == 0 else None)
    rows, columns = min(bins, 10), min(frames, 50)
    largest, total, evidence_sum = (np.zeros((rows, columns)) for _ in range(3))
    for bin_, frame in np.ndindex(bins, frames):
        row = int(bin_ * (rows - 1) / max(bins - 1, 1) + 0.5)
        column = int(frame * (columns - 1) / max(frames - 1, 1) + 0.5)
        largest[row, column] = max(largest[row, column], power[bin_, frame])
        total[row, column] += power[bin_, frame]
        if frame // portion * portion % 2 == 0:
            evidence_sum[row, column] += evidence[bin_, frame]
    np.testing.assert_allclose(pooled.log_magnitude, np.log1p(np.sqrt(largest)), rtol=1e-5)
    np.testing.assert_allclose(pooled.share, evidence_sum / total, rtol=1e-4, atol=1e-6)


def test_labels_with_events_come_first():
    labels = [f"label{index}" for index in range(20)]
    shown = shown_labels(np.eye(20), labels, [EventBox("label7", 0, 3), EventBox("label15", 0, 9)])
    assert shown[:2] == ["label15", "label7"]
    assert len(shown) == MOST_LABELS


def test_events_are_drawn_in_their_lane_and_at_their_frequencies(draw):
    events = [EventBox("hen", 100, 160, 500, 2000), EventBox("dog", 3000, 3010)]
    lanes, sound = draw(events).axes[:2]
    assert [label.get_text() for label in lanes.get_yticklabels()] == ["hen", "dog", "rain_on_$roof"]
    frames = [path.get_extents().bounds for path in lanes.collections[0].get_paths()]
    np.testing.assert_allclose(frames, [(100, -0.42, 60, 0.84), (3000, 0.58, 10, 0.84)])
    # An event without a box has none in the spectrogram.
    boxes = [path.get_extents().bounds for path in sound.collections[0].get_paths()]
    np.testing.assert_allclose(boxes, [(100, 500, 60, 1500)])
    assert [text.get_text() for text in sound.texts] == ["hen"]


@pytest.mark.parametrize(("count", "mark", "filled"), [(200, "framed", 0), (201, "underlined", 1)])
def test_many_events_are_underlined_instead_of_framed(draw, count, mark, filled):
    figure = draw([EventBox("dog", 10.0 * index, 10.0 * index + 5) for index in range(count)])
    lanes = figure.axes[0]
    assert lanes.get_title(loc="left") == f"Confidence by label; events, from 0.50, are {mark}"
    (marks,) = lanes.collections
    assert len(marks.get_paths()) == count
    assert len(marks.get_facecolor()) == filled


def test_without_evidence_the_title_names_none():
    picture = timeline_picture(
        np.ones((5, 9)),
        np.zeros((5, 9)),
        np.zeros(1),
        np.ones((1, 1)),
        ["dog"],
        [EventBox("dog", 0, 5)],
        0.0,
        5.0,
        16_000,
        window_s=5.0,
        min_confidence=0.5,
    )
    assert [axes.get_title(loc="left") for axes in picture.axes[:2]][1] == "Spectrogram"


def test_lanes_show_the_nearest_window(draw):
    figure = draw([], duration_s=20.0, windows=3)
    image = figure.axes[0].images[0]
    values = image.get_array()
    # centres at 2.5, 10 and 17.5 s: the colour changes at 6.25 and 13.75 s
    changes = np.flatnonzero(np.diff(values[0])) + 1
    np.testing.assert_allclose(changes / values.shape[1] * 20, [6.25, 13.75], atol=0.02)
    assert tuple(image.get_extent()[:2]) == (0, 20)


@pytest.mark.parametrize(
    ("start_s", "duration_s", "text"),
    [(0, 60, "time (s)"), (600, 900, "time (min:s)"), (0, 43_200, "time (h:min:s)")],
)
def test_the_time_axis_is_that_of_the_recording(draw, start_s, duration_s, text):
    figure = draw([EventBox("dog", start_s + 5, start_s + 9, 100, 900)], start_s, duration_s)
    for axes in figure.axes[:2]:
        assert axes.get_xlim() == (start_s, start_s + duration_s)
        assert 3 <= len([tick for tick in axes.get_xticks() if start_s <= tick <= start_s + duration_s]) <= 14
    assert figure.axes[1].get_xlabel() == text


@pytest.mark.parametrize("axis", ["linear", "mel", "log"])
def test_a_picture_of_many_events_is_saved(draw, tmp_path, axis):
    events = [EventBox(LABELS[index % 3], 9 * index, 9 * index + 5, 100, 3000) for index in range(400)]
    figure = draw(events, axis=axis)
    assert len(figure.axes[1].texts) < 100  # names that would overlap are left out
    assert save_picture(figure, tmp_path / "timeline.png").stat().st_size > 10_000


@pytest.mark.parametrize("windows", [1, 2])
def test_few_windows(draw, windows):
    figure = draw([], duration_s=5.0, windows=windows)
    assert len(figure.axes) >= 2
    assert not figure.axes[1].texts


def test_times_as_text():
    assert [clock_text(seconds, 3000) for seconds in (0, 59.6, 600)] == ["0:00", "1:00", "10:00"]
