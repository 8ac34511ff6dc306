"""Sound events and backgrounds made by rule, so that what belongs to the event is known exactly.

Each function draws its own pitch, rhythm, timbre and position, hence no two sounds are alike. `EVENTS` and
`BACKGROUNDS` hold them by label, in a fixed order; the labels of events are those of ESC-50. The functions
share one form, `(rng, samples, sample_rate_hz) -> sound`: float32 of shape (samples,), peak 1. They are
written for clips of half a second or more at 16 kHz or above.

Example:
    >>> crow = EVENTS["rooster"](np.random.default_rng(0), 32000, 16000)
    >>> crow.shape, crow.dtype
    ((32000,), dtype('float32'))
"""

import numpy as np

from otoscope.data.synthesis import (
    BACKGROUNDS,
    EventFunction,
    Sound,
    band,
    curve,
    echoes,
    filtered,
    finish,
    formants,
    harmonics,
    modes,
    noise,
    onsets,
    place,
    somewhere,
    span,
    wander,
)

__all__ = ["BACKGROUNDS", "EVENTS", "EventFunction"]

PARTIALS = np.arange(1.0, 61.0)
# Partials of a minor-third bell: hum, prime, tierce, quint, nominal and above (Fletcher & Rossing).
BELL = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.51, 2.66, 3.01, 4.1, 5.3])


def rooster(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A crow in four syllables, the last one long and falling."""
    length = span(rng, 1.0, 1.6, samples, sample_rate_hz)
    bend = curve(length, [0, 0.1, 0.17, 0.3, 0.4, 0.55, 0.8, 1], [0.6, 0.75, 0.65, 0.85, 0.8, 1, 0.92, 0.5])
    pitch = rng.uniform(650, 950) * bend * (1 + 0.012 * wander(rng, length, sample_rate_hz, 40))
    level = curve(length, [0, 0.05, 0.15, 0.2, 0.28, 0.34, 0.4, 0.75, 1], [0, 1, 0, 1, 0.7, 0, 1, 0.8, 0])
    throat = formants([rng.uniform(1100, 1500), rng.uniform(2300, 3000), rng.uniform(3800, 4600)], 3)
    crow = filtered(harmonics(pitch, PARTIALS**-0.9, sample_rate_hz), throat, sample_rate_hz)
    return finish(somewhere(rng, crow * level, samples))


def dog(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """One to four barks: a short rough voice whose pitch leaps up and falls."""
    length = span(rng, 0.13, 0.24, samples, sample_rate_hz)
    peak, throat = rng.uniform(280, 620), formants([rng.uniform(600, 950), rng.uniform(1300, 2000)], 3)
    gap, clip = rng.uniform(0.28, 0.5) * sample_rate_hz, np.zeros(samples)
    for start in onsets(rng, samples, rng.integers(1, 5), gap, length):
        pitch = peak * rng.uniform(0.93, 1.07) * curve(length, [0, 0.25, 1], [0.65, 1, 0.5])
        bark = 0.5 * harmonics(pitch, PARTIALS**-0.8, sample_rate_hz)
        bark += 0.2 * noise(rng, length, band(500, 3500), sample_rate_hz)
        level = rng.uniform(0.7, 1) * curve(length, [0, 0.1, 0.4, 1], [0, 1, 0.6, 0])
        place(clip, filtered(bark, throat, sample_rate_hz) * level, start)
    return finish(clip)


def crying_baby(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """One or two long wails of a bright voice, rising and sinking, with a tremble."""
    length = span(rng, 0.55, 0.85, samples, sample_rate_hz)
    peak, tremble = rng.uniform(400, 600), rng.uniform(5, 8)
    throat = formants([rng.uniform(1000, 1300), rng.uniform(2800, 3600), rng.uniform(4500, 5500)], 2.5)
    time, clip = np.arange(length) / sample_rate_hz, np.zeros(samples)
    for start in onsets(rng, samples, rng.integers(1, 3), length * rng.uniform(1.15, 1.4), length):
        bend = curve(length, [0, rng.uniform(0.2, 0.4), 0.7, 1], [0.75, 1, 0.95, 0.7])
        bend *= 1 + 0.02 * np.sin(2 * np.pi * tremble * time) + 0.01 * wander(rng, length, sample_rate_hz, 30)
        wail = filtered(harmonics(peak * bend, PARTIALS**-0.8, sample_rate_hz), throat, sample_rate_hz)
        place(clip, wail * curve(length, [0, 0.12, 0.75, 1], [0, 1, 0.8, 0]), start)
    return finish(clip)


def chirping_birds(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A motif of whistled sweeps between 2.1 and 7.3 kHz, sung three to nine times."""
    length = span(rng, 0.06, 0.15, samples, sample_rate_hz)
    centre, corners = rng.uniform(3000, 5600), rng.uniform(-1, 1, 4)
    corners *= rng.uniform(0.12, 0.25) / np.abs(corners).max()
    gap, clip = length * rng.uniform(1.3, 2.2), np.zeros(samples)
    for start in onsets(rng, samples, rng.integers(3, 10), gap, length):
        pitch = centre * rng.uniform(0.96, 1.04) * (1 + curve(length, [0, 0.3, 0.7, 1], corners))
        chirp = harmonics(pitch, np.array([1, 0.06]), sample_rate_hz)
        place(clip, chirp * rng.uniform(0.5, 1) * curve(length, [0, 0.2, 0.7, 1], [0, 1, 0.8, 0]), start)
    return finish(echoes(rng, clip, 0.05, 0.07, sample_rate_hz))


def crickets(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A steady high tone, chopped into pulses that come in groups of three to five."""
    time = np.arange(samples) / sample_rate_hz
    pulse_hz, pulses, groups_hz = rng.uniform(28, 42), rng.integers(3, 6), rng.uniform(2.5, 4.5)
    groups = time * groups_hz + rng.uniform()
    within = (groups - np.floor(groups)) / groups_hz * pulse_hz  # pulses since the group began
    gate = np.sin(np.pi * np.minimum((within - np.floor(within)) / 0.7, 1.0)) ** 2 * (within < pulses)
    pitch = rng.uniform(4000, 5600) * (1 + 0.004 * wander(rng, samples, sample_rate_hz, 8))
    song = harmonics(pitch, np.ones(1), sample_rate_hz) * gate
    return finish(song * (1 + 0.2 * wander(rng, samples, sample_rate_hz, 2)))


def water_drops(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Two to six drops: bubbles that ring, rise in pitch and die within a tenth of a second."""
    length, clip = span(rng, 0.1, 0.16, samples, sample_rate_hz), np.zeros(samples)
    time = np.arange(length) / sample_rate_hz
    fade = curve(length, [0, 0.02, 0.8, 1], [0, 1, 1, 0])
    for start in onsets(rng, samples, rng.integers(2, 7), rng.uniform(0.18, 0.45) * sample_rate_hz, length):
        pitch = rng.uniform(700, 2200) * (1 + rng.uniform(3, 7) * time)
        drop = harmonics(pitch, np.array([1, 0.05]), sample_rate_hz) * fade * rng.uniform(0.4, 1)
        place(clip, drop * np.exp(-time / rng.uniform(0.012, 0.03)), start)
    return finish(echoes(rng, clip, 0.07, 0.15, sample_rate_hz))


def siren(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A horn that wails between two pitches an octave or less apart, with a street's echo."""
    length = span(rng, 1.3, 1.9, samples, sample_rate_hz)
    low, wail_hz = rng.uniform(500, 800), rng.uniform(0.7, 3.0)
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * (wail_hz * np.arange(length) / sample_rate_hz + rng.uniform()))
    pitch = low * rng.uniform(1.6, 2.0) ** swing
    tone = harmonics(pitch, PARTIALS[:9] ** -rng.uniform(1.6, 2.4), sample_rate_hz)
    clip = somewhere(rng, tone * curve(length, [0, 0.1, 0.9, 1], [0, 1, 0.9, 0]), samples)
    return finish(echoes(rng, clip, 0.1, 0.1, sample_rate_hz))


def church_bells(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """One to three strokes on one or two bells: inharmonic partials that ring for seconds."""
    length, clip = max(16, samples // 2), np.zeros(samples)
    notes = rng.uniform(300, 600) * np.array([1, rng.choice([1.125, 1.25, 1.333])])
    for turn, start in enumerate(onsets(rng, samples, rng.integers(1, 4), 0.55 * length, length)):
        partials = notes[turn % 2] * BELL * rng.uniform(0.995, 1.005, BELL.size)
        decays = rng.uniform(1.2, 1.8, BELL.size) / BELL**0.8
        loudness = rng.uniform(0.5, 1, BELL.size) / BELL**0.4
        ring = modes(samples - start, partials, decays, loudness, sample_rate_hz)
        place(clip, ring * rng.uniform(0.7, 1), start)
    return finish(echoes(rng, clip, 0.2, 0.1, sample_rate_hz))


def clock_tick(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Regular ticks and tocks: hard clicks of a few milliseconds above 1.5 kHz."""
    length, gap = span(rng, 0.05, 0.06, samples, sample_rate_hz), sample_rate_hz / rng.uniform(2, 6)
    bodies, decays = rng.uniform(1800, 6500, (2, 5)), rng.uniform(0.003, 0.009, (2, 5))
    clip, first = np.zeros(samples), rng.uniform(0, min(gap, samples - length))
    for turn, start in enumerate(np.arange(first, samples, gap).astype(int)):
        tick = modes(length, bodies[turn % 2], decays[turn % 2], 1.0, sample_rate_hz)
        place(clip, tick * (1, 0.7)[turn % 2] * rng.uniform(0.9, 1.1), start)
    return finish(clip)


def crackling_fire(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Snaps of wood at random moments and of very different strength over a faint low roar."""
    seconds, length = samples / sample_rate_hz, span(rng, 0.03, 0.04, samples, sample_rate_hz)
    clip = np.zeros(samples)
    for _ in range(rng.poisson(seconds * rng.uniform(6, 16)) + 3):
        pitch = rng.uniform(900, 4500) * np.array([1, 1.31, 1.67])
        snap = modes(length, pitch, rng.uniform(0.0008, 0.004), 1.0, sample_rate_hz)
        place(clip, snap * np.exp(0.9 * rng.standard_normal()), rng.integers(0, samples - length))
    roar = noise(rng, samples, band(60, rng.uniform(250, 500)), sample_rate_hz)
    roar *= 1 + 0.6 * wander(rng, samples, sample_rate_hz, 8)
    return finish(clip / np.abs(clip).max() + 0.004 * roar)


def door_wood_knock(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Two to five raps on a panel: low modes of a few hundredths of a second, in a room."""
    length = span(rng, 0.2, 0.25, samples, sample_rate_hz)
    panel = np.append(rng.uniform(90, 450, 4), rng.uniform(450, 1300, 4))
    decays, loudness = rng.uniform(4, 8) / panel**0.9, rng.uniform(0.4, 1, 8)
    clip = np.zeros(samples)
    for start in onsets(rng, samples, rng.integers(2, 6), rng.uniform(0.16, 0.32) * sample_rate_hz, length):
        rap = modes(length, panel, decays, loudness * rng.uniform(0.7, 1.3, 8), sample_rate_hz)
        rap += modes(length, rng.uniform(1200, 3000, 3), 0.003, 0.4, sample_rate_hz)
        place(clip, rap * rng.uniform(0.6, 1) * curve(length, [0, 0.7, 1], [1, 1, 0]), start)
    return finish(echoes(rng, clip, 0.1, 0.12, sample_rate_hz))


def glass_breaking(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A crash of high noise, then shards that ring at 2.5 to 7.4 kHz while they fall."""
    length = span(rng, 0.25, 0.35, samples, sample_rate_hz)
    start, clip = rng.integers(0, max(1, samples - 2 * length)), np.zeros(samples)
    crash = noise(rng, length, band(1500, 7000), sample_rate_hz)
    crash *= np.exp(-np.arange(length) / sample_rate_hz / rng.uniform(0.015, 0.04))
    place(clip, crash * curve(length, [0, 0.01, 0.9, 1], [0, 1, 1, 0]), start)
    for fall_s in rng.exponential(rng.uniform(0.12, 0.25), rng.integers(8, 16)):
        later = start + int(fall_s * sample_rate_hz)
        pitches, decays = rng.uniform(2500, 7400, 4), rng.uniform(0.01, 0.06, 4)
        if later < samples:
            shard = modes(length, pitches, decays, rng.uniform(0.1, 0.6, 4), sample_rate_hz)
            place(clip, shard * np.exp(-fall_s / 0.3), later)
    return finish(clip)


def engine(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A motor that idles or is revved: uneven firing strokes in a pipe, with breath at each stroke."""
    speed = rng.uniform(28, 50) * curve(samples, [0, 0.2, 0.6, 1], np.cumprod(rng.uniform(0.85, 1.25, 4)))
    speed *= 1 + 0.03 * wander(rng, samples, sample_rate_hz, 12)
    cylinders = PARTIALS[:40] ** -0.5 * rng.uniform(0.2, 1, 40)  # unequal, so every second stroke differs
    strokes = harmonics(speed / 2, cylinders, sample_rate_hz)
    pipe = formants([rng.uniform(70, 130), rng.uniform(200, 350), rng.uniform(500, 900)], 3)
    breath = noise(rng, samples, band(150, 1200), sample_rate_hz) * np.maximum(strokes, 0)
    return finish(filtered(strokes + 0.3 * breath, pipe, sample_rate_hz))


def helicopter(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Rotor blades that chop the air eleven to nineteen times a second, coming nearer or leaving."""
    speed = rng.uniform(11, 19) * (1 + 0.01 * wander(rng, samples, sample_rate_hz, 2))
    chop = np.exp(rng.uniform(2, 4) * (np.cos(2 * np.pi * np.cumsum(speed) / sample_rate_hz) - 1))
    wash = noise(rng, samples, band(50, rng.uniform(500, 1100)), sample_rate_hz)
    wash += 0.1 * noise(rng, samples, band(500, 4000), sample_rate_hz)
    path = curve(samples, [0, rng.uniform(0.2, 0.8), 1], rng.uniform(0.3, 1, 3))
    return finish((chop + 0.04) * wash * path)


def sneezing(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """A gasp that swells, a moment of silence, and a burst of hiss with a falling voice in it."""
    length = span(rng, 0.3, 0.45, samples // 2, sample_rate_hz)
    gasp = noise(rng, length, band(rng.uniform(700, 1100), 2500), sample_rate_hz)
    gasp *= rng.uniform(0.1, 0.25) * curve(length, [0, 0.1, 0.7, 0.85, 1], [0, 0.2, 1, 0, 0])
    hiss = noise(rng, length, band(rng.uniform(1800, 2600), rng.uniform(4500, 6500)), sample_rate_hz)
    hiss *= curve(length, [0, 0.06, 0.3, 1], [0, 1, 0.6, 0])
    pitch = rng.uniform(220, 420) * curve(length, [0, 0.2, 1], [1, 1.1, 0.6])
    voice = filtered(harmonics(pitch, 1 / PARTIALS, sample_rate_hz), formants([600, 1500], 3), sample_rate_hz)
    voice *= 0.4 * curve(length, [0, 0.05, 0.35, 0.6, 1], [0, 1, 0.5, 0, 0])
    return finish(somewhere(rng, np.append(gasp, hiss + voice), samples))


def car_horn(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """One to three hoots of two flat, brassy notes a third apart."""
    length, gap = span(rng, 0.25, 0.8, samples, sample_rate_hz), rng.uniform(1.15, 1.5)
    low, bell = rng.uniform(330, 440), formants([rng.uniform(1200, 1800), rng.uniform(2300, 3200)], 1.5)
    chord = harmonics(np.full(length, low), PARTIALS**-0.8, sample_rate_hz)
    chord += harmonics(np.full(length, low * rng.uniform(1.18, 1.27)), PARTIALS**-0.8, sample_rate_hz)
    hoot = filtered(chord, bell, sample_rate_hz) * curve(length, [0, 0.05, 0.93, 1], [0, 1, 1, 0])
    clip = np.zeros(samples)
    for start in onsets(rng, samples, rng.integers(1, 4), length * gap, length):
        place(clip, hoot, start)
    return finish(echoes(rng, clip, 0.08, 0.08, sample_rate_hz))


EVENTS: dict[str, EventFunction] = {
    event.__name__: event
    for event in (
        rooster, dog, crying_baby, chirping_birds, crickets, water_drops, siren, church_bells, clock_tick,
        crackling_fire, door_wood_knock, glass_breaking, engine, helicopter, sneezing, car_horn,
    )
}  # fmt: skip
