"""Synthetic sound events.

Each function draws pitch, rhythm, timbre and position at random, so that no two sounds are equal. `EVENTS` holds
them by label, in a fixed order; the labels are those of ESC-50. All functions have the signature
`(rng, samples, sample_rate_hz) -> sound`; the sound is float32 of shape (samples,) with a peak of 1. They are
written for clips of at least half a second at 16 kHz or more.

Example:
    >>> crow = EVENTS["rooster"](np.random.default_rng(0), 32000, 16000)
    >>> crow.shape, crow.dtype
    ((32000,), dtype('float32'))
"""

import numpy as np

from otoscope.data.synthetic.building_blocks import (
    EventFunction,
    Sound,
    add_at,
    at_random_position,
    band,
    curve,
    draw_length,
    draw_onsets,
    echoes,
    filtered,
    finish,
    formants,
    harmonics,
    modes,
    noise,
    random_curve,
)

PARTIALS = np.arange(1.0, 61.0)
# Partials of a minor-third bell relative to the prime: hum, prime, tierce, quint, nominal and higher ones
# (Fletcher and Rossing, The Physics of Musical Instruments).
BELL = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.51, 2.66, 3.01, 4.1, 5.3])


def rooster(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise a crow of four syllables, the last one long and falling."""
    length = draw_length(rng, 1.0, 1.6, samples, sample_rate_hz)
    # Four rises and falls of pitch and of level, with pauses where the level is 0.
    bend = curve(length, [0, 0.1, 0.17, 0.3, 0.4, 0.55, 0.8, 1], [0.6, 0.75, 0.65, 0.85, 0.8, 1, 0.92, 0.5])
    pitch = rng.uniform(650, 950) * bend * (1 + 0.012 * random_curve(rng, length, sample_rate_hz, 40))
    level = curve(length, [0, 0.05, 0.15, 0.2, 0.28, 0.34, 0.4, 0.75, 1], [0, 1, 0, 1, 0.7, 0, 1, 0.8, 0])
    throat = formants([rng.uniform(1100, 1500), rng.uniform(2300, 3000), rng.uniform(3800, 4600)], 3)
    crow = filtered(harmonics(pitch, PARTIALS**-0.9, sample_rate_hz), throat, sample_rate_hz)
    return finish(at_random_position(rng, crow * level, samples))


def dog(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise one to four barks: a short rough voice whose pitch rises steeply and falls."""
    length = draw_length(rng, 0.13, 0.24, samples, sample_rate_hz)
    peak, throat = rng.uniform(280, 620), formants([rng.uniform(600, 950), rng.uniform(1300, 2000)], 3)
    gap, clip = rng.uniform(0.28, 0.5) * sample_rate_hz, np.zeros(samples)
    for start in draw_onsets(rng, samples, rng.integers(1, 5), gap, length):
        pitch = peak * rng.uniform(0.93, 1.07) * curve(length, [0, 0.25, 1], [0.65, 1, 0.5])
        bark = 0.5 * harmonics(pitch, PARTIALS**-0.8, sample_rate_hz)
        bark += 0.2 * noise(rng, length, band(500, 3500), sample_rate_hz)
        level = rng.uniform(0.7, 1) * curve(length, [0, 0.1, 0.4, 1], [0, 1, 0.6, 0])
        add_at(clip, filtered(bark, throat, sample_rate_hz) * level, start)
    return finish(clip)


def crying_baby(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise one or two long wails of a bright voice with rising and falling pitch and vibrato."""
    length = draw_length(rng, 0.55, 0.85, samples, sample_rate_hz)
    peak, tremble = rng.uniform(400, 600), rng.uniform(5, 8)
    throat = formants([rng.uniform(1000, 1300), rng.uniform(2800, 3600), rng.uniform(4500, 5500)], 2.5)
    time, clip = np.arange(length) / sample_rate_hz, np.zeros(samples)
    for start in draw_onsets(rng, samples, rng.integers(1, 3), length * rng.uniform(1.15, 1.4), length):
        bend = curve(length, [0, rng.uniform(0.2, 0.4), 0.7, 1], [0.75, 1, 0.95, 0.7])
        bend *= 1 + 0.02 * np.sin(2 * np.pi * tremble * time) + 0.01 * random_curve(rng, length, sample_rate_hz, 30)
        wail = filtered(harmonics(peak * bend, PARTIALS**-0.8, sample_rate_hz), throat, sample_rate_hz)
        add_at(clip, wail * curve(length, [0, 0.12, 0.75, 1], [0, 1, 0.8, 0]), start)
    return finish(clip)


def chirping_birds(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise a whistled sweep between 2.1 and 7.3 kHz, repeated three to nine times."""
    length = draw_length(rng, 0.06, 0.15, samples, sample_rate_hz)
    centre, corners = rng.uniform(3000, 5600), rng.uniform(-1, 1, 4)
    corners *= rng.uniform(0.12, 0.25) / np.abs(corners).max()
    gap, clip = length * rng.uniform(1.3, 2.2), np.zeros(samples)
    for start in draw_onsets(rng, samples, rng.integers(3, 10), gap, length):
        pitch = centre * rng.uniform(0.96, 1.04) * (1 + curve(length, [0, 0.3, 0.7, 1], corners))
        chirp = harmonics(pitch, np.array([1, 0.06]), sample_rate_hz)
        add_at(clip, chirp * rng.uniform(0.5, 1) * curve(length, [0, 0.2, 0.7, 1], [0, 1, 0.8, 0]), start)
    return finish(echoes(rng, clip, 0.05, 0.07, sample_rate_hz))


def crickets(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise a steady high tone, modulated into pulses in groups of three to five."""
    time = np.arange(samples) / sample_rate_hz
    pulse_hz, pulses, groups_hz = rng.uniform(28, 42), rng.integers(3, 6), rng.uniform(2.5, 4.5)
    groups = time * groups_hz + rng.uniform()
    # `within` counts the pulses since the group began. Each pulse is an arch over 0.7 of its period, and only the
    # first `pulses` of them sound.
    within = (groups - np.floor(groups)) / groups_hz * pulse_hz
    gate = np.sin(np.pi * np.minimum((within - np.floor(within)) / 0.7, 1.0)) ** 2 * (within < pulses)
    pitch = rng.uniform(4000, 5600) * (1 + 0.004 * random_curve(rng, samples, sample_rate_hz, 8))
    song = harmonics(pitch, np.ones(1), sample_rate_hz) * gate
    return finish(song * (1 + 0.2 * random_curve(rng, samples, sample_rate_hz, 2)))


def water_drops(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise two to six drops: resonating bubbles that rise in pitch and decay within a tenth of a second."""
    length, clip = draw_length(rng, 0.1, 0.16, samples, sample_rate_hz), np.zeros(samples)
    time = np.arange(length) / sample_rate_hz
    fade = curve(length, [0, 0.02, 0.8, 1], [0, 1, 1, 0])
    for start in draw_onsets(rng, samples, rng.integers(2, 7), rng.uniform(0.18, 0.45) * sample_rate_hz, length):
        pitch = rng.uniform(700, 2200) * (1 + rng.uniform(3, 7) * time)
        # A resonating bubble rises in pitch as it nears the surface.
        drop = harmonics(pitch, np.array([1, 0.05]), sample_rate_hz) * fade * rng.uniform(0.4, 1)
        add_at(clip, drop * np.exp(-time / rng.uniform(0.012, 0.03)), start)
    return finish(echoes(rng, clip, 0.07, 0.15, sample_rate_hz))


def siren(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise a horn that glides between two pitches at most an octave apart, with echoes."""
    length = draw_length(rng, 1.3, 1.9, samples, sample_rate_hz)
    low, wail_hz = rng.uniform(500, 800), rng.uniform(0.7, 3.0)
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * (wail_hz * np.arange(length) / sample_rate_hz + rng.uniform()))
    # The exponent makes the glide symmetric on the logarithmic scale of pitch.
    pitch = low * rng.uniform(1.6, 2.0) ** swing
    tone = harmonics(pitch, PARTIALS[:9] ** -rng.uniform(1.6, 2.4), sample_rate_hz)
    clip = at_random_position(rng, tone * curve(length, [0, 0.1, 0.9, 1], [0, 1, 0.9, 0]), samples)
    return finish(echoes(rng, clip, 0.1, 0.1, sample_rate_hz))


def church_bells(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise one to three strokes on one or two bells: inharmonic partials that decay over seconds."""
    length, clip = max(16, samples // 2), np.zeros(samples)
    notes = rng.uniform(300, 600) * np.array([1, rng.choice([1.125, 1.25, 1.333])])
    for turn, start in enumerate(draw_onsets(rng, samples, rng.integers(1, 4), 0.55 * length, length)):
        partials = notes[turn % 2] * BELL * rng.uniform(0.995, 1.005, BELL.size)
        # Higher partials of a bell are weaker and decay faster.
        decays = rng.uniform(1.2, 1.8, BELL.size) / BELL**0.8
        loudness = rng.uniform(0.5, 1, BELL.size) / BELL**0.4
        ring = modes(samples - start, partials, decays, loudness, sample_rate_hz)
        add_at(clip, ring * rng.uniform(0.7, 1), start)
    return finish(echoes(rng, clip, 0.2, 0.1, sample_rate_hz))


def clock_tick(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise regular ticks of two alternating sounds: clicks of a few milliseconds above 1.5 kHz."""
    length, gap = draw_length(rng, 0.05, 0.06, samples, sample_rate_hz), sample_rate_hz / rng.uniform(2, 6)
    bodies, decays = rng.uniform(1800, 6500, (2, 5)), rng.uniform(0.003, 0.009, (2, 5))
    clip, first = np.zeros(samples), rng.uniform(0, min(gap, samples - length))
    for turn, start in enumerate(np.arange(first, samples, gap).astype(int)):
        tick = modes(length, bodies[turn % 2], decays[turn % 2], 1.0, sample_rate_hz)
        add_at(clip, tick * (1, 0.7)[turn % 2] * rng.uniform(0.9, 1.1), start)
    return finish(clip)


def crackling_fire(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise snaps of wood at random times and of very different level over a faint low roar."""
    seconds, length = samples / sample_rate_hz, draw_length(rng, 0.03, 0.04, samples, sample_rate_hz)
    clip = np.zeros(samples)
    for _ in range(rng.poisson(seconds * rng.uniform(6, 16)) + 3):
        pitch = rng.uniform(900, 4500) * np.array([1, 1.31, 1.67])
        snap = modes(length, pitch, rng.uniform(0.0008, 0.004), 1.0, sample_rate_hz)
        # Log-normal levels: many faint snaps, few loud ones.
        add_at(clip, snap * np.exp(0.9 * rng.standard_normal()), rng.integers(0, samples - length))
    roar = noise(rng, samples, band(60, rng.uniform(250, 500)), sample_rate_hz)
    roar *= 1 + 0.6 * random_curve(rng, samples, sample_rate_hz, 8)
    return finish(clip / np.abs(clip).max() + 0.004 * roar)


def door_wood_knock(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise two to five knocks on a panel: low modes that decay within hundredths of a second, in a room."""
    length = draw_length(rng, 0.2, 0.25, samples, sample_rate_hz)
    panel = np.append(rng.uniform(90, 450, 4), rng.uniform(450, 1300, 4))
    decays, loudness = rng.uniform(4, 8) / panel**0.9, rng.uniform(0.4, 1, 8)
    clip = np.zeros(samples)
    for start in draw_onsets(rng, samples, rng.integers(2, 6), rng.uniform(0.16, 0.32) * sample_rate_hz, length):
        rap = modes(length, panel, decays, loudness * rng.uniform(0.7, 1.3, 8), sample_rate_hz)
        rap += modes(length, rng.uniform(1200, 3000, 3), 0.003, 0.4, sample_rate_hz)
        add_at(clip, rap * rng.uniform(0.6, 1) * curve(length, [0, 0.7, 1], [1, 1, 0]), start)
    return finish(echoes(rng, clip, 0.1, 0.12, sample_rate_hz))


def glass_breaking(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise a burst of high-frequency noise, then falling shards that resonate at 2.5 to 7.4 kHz."""
    length = draw_length(rng, 0.25, 0.35, samples, sample_rate_hz)
    start, clip = rng.integers(0, max(1, samples - 2 * length)), np.zeros(samples)
    crash = noise(rng, length, band(1500, 7000), sample_rate_hz)
    crash *= np.exp(-np.arange(length) / sample_rate_hz / rng.uniform(0.015, 0.04))
    add_at(clip, crash * curve(length, [0, 0.01, 0.9, 1], [0, 1, 1, 0]), start)
    for fall_s in rng.exponential(rng.uniform(0.12, 0.25), rng.integers(8, 16)):
        later = start + int(fall_s * sample_rate_hz)
        pitches, decays = rng.uniform(2500, 7400, 4), rng.uniform(0.01, 0.06, 4)
        if later < samples:
            shard = modes(length, pitches, decays, rng.uniform(0.1, 0.6, 4), sample_rate_hz)
            add_at(clip, shard * np.exp(-fall_s / 0.3), later)
    return finish(clip)


def engine(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise an engine that idles or speeds up: uneven strokes through a pipe, with a puff of air at each."""
    speed = rng.uniform(28, 50) * curve(samples, [0, 0.2, 0.6, 1], np.cumprod(rng.uniform(0.85, 1.25, 4)))
    speed *= 1 + 0.03 * random_curve(rng, samples, sample_rate_hz, 12)
    # Unequal harmonics of half the firing rate, so that successive strokes differ.
    cylinders = PARTIALS[:40] ** -0.5 * rng.uniform(0.2, 1, 40)
    strokes = harmonics(speed / 2, cylinders, sample_rate_hz)
    pipe = formants([rng.uniform(70, 130), rng.uniform(200, 350), rng.uniform(500, 900)], 3)
    breath = noise(rng, samples, band(150, 1200), sample_rate_hz) * np.maximum(strokes, 0)
    return finish(filtered(strokes + 0.3 * breath, pipe, sample_rate_hz))


def helicopter(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise rotor blades that modulate noise eleven to nineteen times a second, approaching or leaving."""
    speed = rng.uniform(11, 19) * (1 + 0.01 * random_curve(rng, samples, sample_rate_hz, 2))
    # exp(a (cos(phase) - 1)): narrow pulses of height 1, the narrower the larger a.
    chop = np.exp(rng.uniform(2, 4) * (np.cos(2 * np.pi * np.cumsum(speed) / sample_rate_hz) - 1))
    wash = noise(rng, samples, band(50, rng.uniform(500, 1100)), sample_rate_hz)
    wash += 0.1 * noise(rng, samples, band(500, 4000), sample_rate_hz)
    path = curve(samples, [0, rng.uniform(0.2, 0.8), 1], rng.uniform(0.3, 1, 3))
    return finish((chop + 0.04) * wash * path)


def sneezing(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise an inhalation that grows louder, a short silence, and a burst of hiss with a falling voice."""
    length = draw_length(rng, 0.3, 0.45, samples // 2, sample_rate_hz)
    gasp = noise(rng, length, band(rng.uniform(700, 1100), 2500), sample_rate_hz)
    gasp *= rng.uniform(0.1, 0.25) * curve(length, [0, 0.1, 0.7, 0.85, 1], [0, 0.2, 1, 0, 0])
    hiss = noise(rng, length, band(rng.uniform(1800, 2600), rng.uniform(4500, 6500)), sample_rate_hz)
    hiss *= curve(length, [0, 0.06, 0.3, 1], [0, 1, 0.6, 0])
    pitch = rng.uniform(220, 420) * curve(length, [0, 0.2, 1], [1, 1.1, 0.6])
    voice = filtered(harmonics(pitch, 1 / PARTIALS, sample_rate_hz), formants([600, 1500], 3), sample_rate_hz)
    voice *= 0.4 * curve(length, [0, 0.05, 0.35, 0.6, 1], [0, 1, 0.5, 0, 0])
    return finish(at_random_position(rng, np.append(gasp, hiss + voice), samples))


def car_horn(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> Sound:
    """Synthesise one to three blasts of two steady, brassy notes a third apart."""
    length, gap = draw_length(rng, 0.25, 0.8, samples, sample_rate_hz), rng.uniform(1.15, 1.5)
    low, bell = rng.uniform(330, 440), formants([rng.uniform(1200, 1800), rng.uniform(2300, 3200)], 1.5)
    chord = harmonics(np.full(length, low), PARTIALS**-0.8, sample_rate_hz)
    chord += harmonics(np.full(length, low * rng.uniform(1.18, 1.27)), PARTIALS**-0.8, sample_rate_hz)
    hoot = filtered(chord, bell, sample_rate_hz) * curve(length, [0, 0.05, 0.93, 1], [0, 1, 1, 0])
    clip = np.zeros(samples)
    for start in draw_onsets(rng, samples, rng.integers(1, 4), length * gap, length):
        add_at(clip, hoot, start)
    return finish(echoes(rng, clip, 0.08, 0.08, sample_rate_hz))


EVENTS: dict[str, EventFunction] = {
    event.__name__: event
    for event in (
        rooster, dog, crying_baby, chirping_birds, crickets, water_drops, siren, church_bells, clock_tick,
        crackling_fire, door_wood_knock, glass_breaking, engine, helicopter, sneezing, car_horn,
    )
}  # fmt: skip
