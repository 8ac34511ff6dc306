"""The audit finds a planted cue, leaves an honest classifier alone, and resumes."""

import dataclasses

import pytest
import torch
from tests.audit.cheats import LABELS, SpectrumClassifier

from otoscope import CallableClassifier
from otoscope.audio import load_audio
from otoscope.audit.answers import ANSWERS_NAME, Answers, Request
from otoscope.audit.clips import choose_clips
from otoscope.audit.cues import BandCue
from otoscope.audit.own import Suspicion, band_suspicion
from otoscope.audit.result import AuditResult
from otoscope.audit.run import run_audit
from otoscope.audit.settings import AuditSettings
from otoscope.audit.text import summary
from otoscope.data import Clip
from otoscope.errors import ConfigurationError, DataError


@pytest.fixture(scope="module")
def audited(cheat, planted_clips, quick, tmp_path_factory):
    """The audit of the classifier that cheats, and its folder."""
    folder = tmp_path_factory.mktemp("audit")
    costs = []
    return run_audit(cheat, planted_clips, LABELS, folder, quick, on_cost=costs.append), folder, costs


def test_finds_the_planted_tone(audited):
    result, _, _ = audited
    [suspect] = result.shortcuts
    assert suspect.label == "middle"
    assert 2800 < suspect.place.low_hz < 3000 < suspect.place.high_hz < 3200
    assert suspect.removal.before == 1
    assert suspect.removal.after < 0.2
    assert suspect.removal.control == 1
    assert suspect.transplant.after > 0.8
    assert suspect.transplant.control == 0
    assert suspect.q_value < 0.05
    assert suspect.level_db == pytest.approx(-10, abs=2)
    assert suspect.side_effect_db < 1
    assert "takes accuracy from 100 to" in suspect.sentence
    assert {figures.label: figures.verdict for figures in result.classes} == {
        "low": "clean",
        "middle": "shortcut",
        "high": "clean",
    }
    assert result.verdict == "shortcut"


def test_a_removal_that_changes_the_rest_proves_no_shortcut(cheat, planted_clips, quick):
    """The function removes the tone, and silences half of the other frequencies with it."""

    def careless(waveform, sample_rate_hz):
        spectrum = torch.fft.rfft(waveform)
        spectrum[len(spectrum) // 2 :] = 0
        return BandCue(2800.0, 3200.0).removed(torch.fft.irfft(spectrum, len(waveform)), sample_rate_hz)

    class Careless(BandCue):
        def removed(self, waveform, sample_rate_hz):
            return careless(waveform, sample_rate_hz)

    suspicion = Suspicion(Careless(2800.0, 3200.0), "middle")
    result = run_audit(cheat, planted_clips, LABELS, None, quick, [suspicion])
    [suspect] = [suspect for suspect in result.suspects if suspect.from_user]
    assert suspect.verdict == "unclear"
    assert suspect.side_effect_db > 20
    assert "changes the rest of the sound" in suspect.sentence


def test_an_honest_classifier_is_clean(honest, planted_clips, quick):
    result = run_audit(honest, planted_clips, LABELS, None, quick)
    assert result.verdict == "clean"
    assert not result.shortcuts
    assert result.conditions["accuracy"] == 1


def test_a_redundant_cue_convinces_but_is_unclear(cheat, planted_clips):
    # without its penalty, the class is recognised by its own sound as well
    redundant = SpectrumClassifier(LABELS, penalty=0.0).freeze()
    result = run_audit(redundant, planted_clips, LABELS, None, AuditSettings(clips_per_class=8))
    [suspect] = [suspect for suspect in result.suspects if suspect.verdict == "unclear"]
    assert suspect.label == "middle"
    assert suspect.removal.change == 0
    assert suspect.transplant.after > 0.8
    assert "its removal costs few decisions" in suspect.sentence


def test_saves_what_can_be_listened_to(audited):
    result, folder, _ = audited
    [suspect] = result.shortcuts
    sounds = {name: load_audio(folder / path) for name, path in suspect.sounds.items()}
    assert set(sounds) == {
        "clip",
        "without the cue",
        "what was removed",
        "other clip",
        "other clip with the cue",
    }
    rest = sounds["clip"] - sounds["without the cue"] - sounds["what was removed"]
    assert rest.abs().max() < 1e-3
    assert set(suspect.sound_clips) == set(sounds)


def test_the_result_is_read_again(audited):
    result, folder, _ = audited
    loaded = AuditResult.load(folder)
    assert loaded == result
    assert loaded.folder == folder
    assert "1 shortcut among" in summary(loaded)


def test_the_cost_is_stated_before(audited):
    result, _, costs = audited
    [cost] = costs
    assert cost.answers > result.conditions["answers"] / 2
    assert "answers of the classifier" in cost.text


def test_resumes_after_a_kill(audited, cheat, planted_clips, quick, tmp_path):
    result, folder, _ = audited
    lines = (folder / ANSWERS_NAME).read_bytes()
    # killed in the middle of a line
    (tmp_path / ANSWERS_NAME).write_bytes(lines[: len(lines) // 2])
    again = run_audit(cheat, planted_clips, LABELS, tmp_path, quick)
    assert again.suspects == result.suspects
    assert again.classes == result.classes
    assert 0 < again.conditions["answers"] < result.conditions["answers"]
    # nothing is left to compute
    finished = run_audit(cheat, planted_clips, LABELS, tmp_path, quick)
    assert finished.conditions["answers"] == 0


def test_answers_of_another_classifier_are_not_used(audited, honest, planted_clips, quick, tmp_path):
    _, folder, _ = audited
    (tmp_path / ANSWERS_NAME).write_bytes((folder / ANSWERS_NAME).read_bytes())
    result = run_audit(honest, planted_clips, LABELS, tmp_path, quick)
    assert not result.shortcuts
    assert result.conditions["reused_answers"] == 0


def test_several_processes_give_the_same_answers(cheat, planted_clips):
    clips = choose_clips(planted_clips, LABELS, cheat, None, seed=0)
    requests = [Request(index, "removed", BandCue(2900, 3100)) for index in range(len(clips))]
    alone, together = Answers(cheat, clips), Answers(cheat, clips, workers=2)
    assert together.workers == 2
    torch.testing.assert_close(torch.tensor(alone.ask(requests)), torch.tensor(together.ask(requests)))


def test_a_black_box_is_audited_without_gradients(cheat, planted_clips, quick):
    def probabilities(waveforms):
        with torch.no_grad():
            return cheat.probabilities(cheat.hear(torch.as_tensor(waveforms))).numpy()

    box = CallableClassifier(probabilities, LABELS, 16_000)
    assert not box.differentiable
    result = run_audit(box, planted_clips, LABELS, None, quick)
    assert [suspect.label for suspect in result.shortcuts] == ["middle"]


def test_own_suspicions_are_tested_on_every_class(cheat, planted_clips, quick):
    suspicion = band_suspicion(2900, 3100, 16_000)
    result = run_audit(cheat, planted_clips, LABELS, None, quick, suspicions=[suspicion])
    verdicts = {suspect.label: suspect.verdict for suspect in result.suspects if suspect.from_user}
    assert verdicts == {"low": "clean", "middle": "shortcut", "high": "clean"}
    single = run_audit(cheat, planted_clips, LABELS, None, quick, suspicions=[Suspicion(suspicion.cue, "high")])
    assert [suspect.label for suspect in single.suspects if suspect.from_user] == ["high"]


def test_a_cue_that_is_too_loud_may_be_the_sound_itself(
    audited, cheat, planted_clips, quick, monkeypatch, tmp_path
):
    monkeypatch.setattr(BandCue, "loudest_db", -20.0)  # the tone has -10 dB
    (tmp_path / ANSWERS_NAME).write_bytes((audited[1] / ANSWERS_NAME).read_bytes())
    result = run_audit(cheat, planted_clips, LABELS, tmp_path, quick)
    [suspect] = [suspect for suspect in result.suspects if suspect.verdict == "unclear"]
    assert suspect.label == "middle"
    assert "may be the sound of the class itself" in suspect.sentence
    assert not result.shortcuts


def test_few_clips_are_too_few_to_tell(cheat, planted_clips, quick):
    few = [clip for clip in planted_clips if int(clip.name.split("-")[1]) < 4]
    result = run_audit(cheat, few, LABELS, None, quick)
    assert not result.shortcuts
    assert {figures.verdict for figures in result.classes} == {"too few clips to tell"}


def test_clips_of_one_recording_stay_in_one_half(cheat, planted_clips):
    clips = [
        dataclasses.replace(clip, recording=clip.name.split("-")[0] + str(place // 2 % 4))
        for place, clip in enumerate(planted_clips)
    ]
    chosen = choose_clips(clips, LABELS, cheat, 4, seed=0)
    halves = {}
    for clip in chosen:
        assert halves.setdefault(clip.recording, clip.half) == clip.half
    # four clips of each class, of four recordings rather than two
    assert len(chosen) == 12
    assert len(halves) == 12


def test_names_the_classes_that_do_not_fit(cheat):
    clip = Clip(torch.zeros(8000), 0, "a", "a")
    with pytest.raises(DataError, match=r"bird.*low, middle, high"):
        run_audit(cheat, [clip], ["bird"])
    with pytest.raises(ConfigurationError, match="clips_per_class"):
        AuditSettings(clips_per_class=1)
