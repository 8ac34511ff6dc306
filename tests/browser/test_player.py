"""Players in a browser: one clock for all sounds, seeking, the mask, keys."""

import numpy as np
import pytest
from tests.report.folders import RATE_HZ, sounds

from otoscope.player import Clip, Track, standalone_html

PLAYER = ".otoscope-player"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    recording, evidence, remainder = sounds(4.0)
    tracks = [
        Track("recording", "Recording", recording),
        Track("evidence", "Evidence", 0.1 * evidence),
        Track("remainder", "Remainder", remainder),
        Track("component", "Component 3", evidence),
    ]
    levels = np.log1p(np.random.default_rng(0).random((513, 345)) * 9)
    mask = np.zeros((513, 345))
    mask[:, :172] = 1
    clip = Clip('a "quoted" <name>', RATE_HZ, tracks, levels, mask)
    path = tmp_path_factory.mktemp("player") / "two.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{standalone_html([clip, clip])}")
    return path


@pytest.fixture(scope="module")
def shared_page(open_shared_page, page_file):
    return open_shared_page(page_file)


@pytest.fixture
def page(shared_page):
    """The page as it was when it was opened."""
    shared_page.evaluate(
        """() => {
            for (const root of document.querySelectorAll(".otoscope-player")) {
                const player = root.otoscope;
                player.pause();
                player.seek(0);
                player.select(0);
                for (const box of root.querySelectorAll("[type=checkbox]")) box.checked = false;
            }
        }"""
    )
    return shared_page


def state(page, player=0):
    """Return position, cursor, pressed track and whether it plays, read at one instant."""
    return page.evaluate(
        """(index) => {
            const root = document.querySelectorAll(".otoscope-player")[index];
            const view = root.querySelector(".otoscope-view");
            const cursor = root.querySelector(".otoscope-cursor");
            return {
                time: root.otoscope.currentTime, now: performance.now() / 1000,
                shown: Number(view.getAttribute("aria-valuenow")), cursor: parseFloat(cursor.style.left) / 100,
                track: [...root.querySelectorAll(".otoscope-track")].findIndex((b) => b.ariaPressed === "true"),
                playing: root.otoscope.isPlaying,
            };
        }""",
        player,
    )


def wait_until(page, expression, player=0):
    page.wait_for_function(
        f"(i) => {{ const player = document.querySelectorAll('{PLAYER}')[i].otoscope; return {expression}; }}",
        arg=player,
    )


def press(page, key, player=0):
    page.locator(".otoscope-view").nth(player).press(key)


def test_plays_and_cursor_follows(page):
    page.locator(".otoscope-play").first.click()
    wait_until(page, "player.currentTime > 0.3")
    first = state(page)
    wait_until(page, f"player.currentTime > {first['time']} + 0.3")
    second = state(page)
    assert second["playing"]
    # The clock of the sound and that of the page advance alike.
    assert second["time"] - first["time"] == pytest.approx(second["now"] - first["now"], abs=0.1)
    assert second["cursor"] == pytest.approx(second["time"] / 4, abs=0.03)
    assert page.locator(".otoscope-play").first.inner_text().strip() == "Pause"


def test_switching_keeps_the_instant(page):
    page.locator(".otoscope-play").first.click()
    wait_until(page, "player.currentTime > 0.2")
    for key, track in (("2", 1), ("3", 2), ("4", 3), ("1", 0)):
        before = state(page)
        press(page, key)
        after = state(page)
        assert after["track"] == track
        elapsed = after["now"] - before["now"]
        assert after["time"] - before["time"] == pytest.approx(elapsed, abs=0.05)
    assert state(page)["playing"]


def test_the_sound_that_is_heard_is_the_chosen_one(page):
    # What leaves the gains is measured: one track at its level, the others silent.
    page.locator(".otoscope-play").first.click()
    wait_until(page, "player.isPlaying && player.currentTime > 0.1")
    for key in ("2", "3"):
        press(page, key)
        wait_until(
            page, f"player.running.gains.every((node, i) => (node.gain.value > 0) === (i === {int(key) - 1}))"
        )
    gain = "player.running.gains[1].gain.value"
    press(page, "2")
    # The evidence is ten times quieter than its part of the recording; equal loudness raises it.
    wait_until(page, f"{gain} > 0 && Math.abs({gain} - player.sounds[1].dataset.gain) < 1e-4")
    press(page, "l")
    wait_until(page, f"{gain} > 5 * player.sounds[1].dataset.gain")
    assert state(page)["track"] == 1


def test_decoded_sounds_are_aligned(page):
    page.locator(".otoscope-play").first.click()
    wait_until(page, "player.decoded")
    delays = page.evaluate(
        """() => {
            const [recording, evidence, remainder] = document.querySelector(".otoscope-player").otoscope.decoded;
            const rate = recording.sampleRate;
            const [a, b] = [recording, remainder].map((buffer) => buffer.getChannelData(0));
            const lengths = [recording, evidence, remainder].map((buffer) => buffer.duration);
            // Noise of one second: the lag with the largest correlation, in samples.
            const [first, count] = [Math.round(3 * rate), Math.round(0.8 * rate)];
            let best = [-Infinity, 0];
            for (let lag = -200; lag <= 200; lag += 1) {
                let sum = 0;
                for (let i = first; i < first + count; i += 1) sum += a[i] * b[i + lag];
                if (sum > best[0]) best = [sum, lag];
            }
            return { lag: best[1] / rate, lengths };
        }"""
    )
    assert abs(delays["lag"]) <= 1 / RATE_HZ
    # Chromium may drop the last block of Vorbis, which is silence here; the beginning is what aligns the sounds.
    assert delays["lengths"] == pytest.approx([4.0] * 3, abs=0.03)


def test_keys_seek_play_and_stop(page):
    press(page, "ArrowRight")
    press(page, "ArrowRight")
    assert state(page)["time"] == pytest.approx(0.5)
    press(page, "End")
    assert state(page)["time"] == pytest.approx(4.0)
    press(page, "Home")
    press(page, "Shift+ArrowRight")
    assert state(page)["time"] == pytest.approx(0.05)
    press(page, " ")
    wait_until(page, "player.isPlaying && player.currentTime > 0.1")
    press(page, "ArrowRight")
    wait_until(page, "player.currentTime > 0.3")
    press(page, " ")
    stopped = state(page)
    assert not stopped["playing"]
    assert stopped["time"] == pytest.approx(state(page)["time"])


def test_click_seeks_and_drag_follows(page):
    box = page.locator(".otoscope-view").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 20)
    assert state(page)["time"] == pytest.approx(2.0, abs=0.02)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 30, steps=3)
    page.mouse.up()
    assert state(page)["time"] == pytest.approx(3.0, abs=0.02)
    assert "dB" in page.locator(".otoscope-readout").first.inner_text()


def test_repeat_begins_again(page):
    press(page, "r")
    page.evaluate("document.querySelector('.otoscope-player').otoscope.seek(3.7)")
    press(page, " ")
    wait_until(page, "player.isPlaying && player.currentTime < 1")
    press(page, "r")
    page.evaluate("document.querySelector('.otoscope-player').otoscope.seek(3.8)")
    wait_until(page, "!player.isPlaying && player.currentTime === 4")
    assert state(page)["time"] == 4


def test_starting_a_player_stops_the_other(page):
    page.locator(".otoscope-play").nth(0).click()
    wait_until(page, "player.isPlaying")
    page.locator(".otoscope-play").nth(1).click()
    wait_until(page, "player.isPlaying", player=1)
    assert not state(page, 0)["playing"]


def test_mask_is_drawn_over_the_spectrogram(page):
    wait_until(page, "player.values?.mask")
    alpha = page.evaluate(
        """() => {
            const canvas = document.querySelector(".otoscope-veil");
            const { data } = canvas.getContext("2d").getImageData(0, 9, canvas.width, 1);
            return [0.25, 0.75].map((x) => data[4 * Math.floor(x * canvas.width) + 3]);
        }"""
    )
    assert alpha == [0, 255]  # what the mask keeps is clear, what it removes is veiled
    opacity = "() => Number(document.querySelector('.otoscope-veil').style.opacity)"
    assert page.evaluate(opacity) == pytest.approx(0.62)
    page.locator(".otoscope-opacity").first.fill("30")
    assert page.evaluate(opacity) == pytest.approx(0.3)
    page.locator(".otoscope-mask-button").first.click()
    assert page.evaluate(opacity) == 0
    press(page, "m")
    assert page.evaluate(opacity) == pytest.approx(0.3)


def test_quiet_and_loud_bins_differ_in_lightness(page):
    wait_until(page, "player.values")
    difference = page.evaluate(
        """() => {
            const { levels } = document.querySelector(".otoscope-player").otoscope.values;
            const canvas = document.querySelector(".otoscope-levels-canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const sum = (i) => data[4 * i] + data[4 * i + 1] + data[4 * i + 2];
            const order = [...levels.values.keys()].sort((a, b) => levels.values[a] - levels.values[b]);
            return sum(order.at(-1)) - sum(order[0]);
        }"""
    )
    assert difference > 300  # the loudest bin is much lighter than the quietest


def test_nothing_is_added_to_the_global_scope(page):
    names = page.evaluate("Object.keys(window).filter((name) => /otoscope|player|^shared$/i.test(name))")
    assert names == []


def test_without_scripts_the_sounds_can_be_played(open_page, page_file):
    page = open_page(page_file, java_script_enabled=False)
    assert page.locator("audio[controls]").first.is_visible()
    assert page.locator("img.otoscope-levels").first.is_visible()
    assert not page.locator(".otoscope-controls").first.is_visible()
