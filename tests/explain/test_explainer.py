"""From a recording to an explanation: fields, levels, files, and unusual recordings."""

import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
import soundfile
import torch

from otoscope.audio import save_audio
from otoscope.audio.level import active_level
from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.errors import (
    AudioError,
    CheckpointError,
    ConfigurationError,
    OtoscopeError,
    ShapeError,
    UnsuitableMethodError,
)
from otoscope.explain import Explainer, load
from otoscope.explanation import Explanation, Explanations
from otoscope.interpreters import (
    InputXGradientInterpreter,
    Interpreter,
    L2IInterpreter,
    PIQInterpreter,
    make_untrained,
    save_interpreter,
)
from otoscope.methods import DEFAULT_BLACK_BOX, DEFAULT_METHOD, METHODS
from otoscope.metrics import scores_shown
from otoscope.nn import NMFDictionary

LABELS = ["dog", "rain", "clock"]
FILES = [
    "explanation.json",
    "interpretation.wav",
    "interpretation_levelled.flac",
    "mask.npz",
    "original.wav",
    "remainder.wav",
    "remainder_levelled.flac",
    "spectra.png",
]


class ConstantMask(Interpreter[Any]):
    """Interpreter whose mask has the same value in every bin."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def decode(self, spectrogram, prediction):
        return torch.full_like(spectrogram.log_magnitude, self.value)

    def mask(self, decoded, spectrogram):
        return spectrogram.zero_padding(decoded)

    def loss(self, decoded, spectrogram, prediction):
        return {"none": decoded.mean()}


@pytest.fixture
def classifier(experienced):
    torch.manual_seed(1)
    return experienced(Conv2dClassifier(LABELS, width=6, head_width=8)).freeze()


@pytest.fixture
def explainer(classifier):
    torch.manual_seed(2)
    return Explainer(classifier, PIQInterpreter(classifier, codes=12))


@pytest.fixture
def clip():
    return 0.3 * torch.randn(9000)


@pytest.mark.parametrize("threshold", [1.1, 0.0, None, "high"])
def test_an_uncertain_classifier_states_its_classes_and_limits(explainer, clip, threshold):
    explainer.classifier.details = {"limits": "three sounds only", "uncertain_below": threshold}
    notes = explainer.explain(clip, scores=False).notes
    if threshold != 1.1:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith("the prediction is uncertain (largest probability ")
        assert note.endswith("the classifier knows only dog, rain, clock; three sounds only")


def test_fields_and_shapes(explainer, clip):
    result = explainer.explain(clip)
    assert isinstance(result, Explanation)
    frames = explainer.classifier.frontend.frames(9000)
    assert result.mask.shape == result.log_magnitude.shape == (513, frames)
    assert 0 <= result.mask.min() <= result.mask.max() <= 1
    assert result.original.shape == result.evidence.shape == result.remainder.shape == (9000,)
    assert torch.equal(result.original, clip)
    assert result.sample_rate_hz == explainer.sample_rate_hz == 16_000
    assert list(result.probabilities) == LABELS == explainer.labels
    assert sum(result.probabilities.values()) == pytest.approx(1)
    assert result.label == result.predicted == max(result.probabilities, key=result.probabilities.get)
    assert (result.method, result.name, result.notes) == ("PIQ", "clip", [])
    assert not result.evidence.requires_grad


def test_probabilities_equal_those_of_the_classifier(explainer, clip):
    classifier = explainer.classifier
    expected = classifier.probabilities(classifier.frontend(clip[None] / clip.abs().max()))[0]
    probabilities = explainer.explain(clip, scores=False).probabilities
    torch.testing.assert_close(torch.tensor(list(probabilities.values())), expected)


def test_scores_and_controls(explainer, clip):
    result = explainer.explain(clip)
    assert set(result.scores) == set(scores_shown("training", truth=False))
    assert set(result.controls) == {"all-pass", "random", "loudest"}
    assert result.scores["MM"] == pytest.approx(result.mask.mean().item(), abs=1e-5)
    probability = result.probabilities[result.label]
    assert result.controls["all-pass"]["p_evidence"] == pytest.approx(probability, abs=1e-5)
    assert result.scores["FF"] == pytest.approx(probability - result.scores["p_remainder"], abs=1e-5)
    assert explainer.explain(clip).controls["random"] == result.controls["random"]
    without_scores = explainer.explain(clip, scores=False)
    assert without_scores.scores == without_scores.controls == {}
    assert torch.equal(without_scores.mask, result.mask)


def test_a_mask_of_ones_keeps_everything_and_a_mask_of_zeros_nothing(classifier, clip):
    everything = Explainer(classifier, ConstantMask(1.0)).explain(clip)
    torch.testing.assert_close(everything.evidence, clip, atol=1e-5, rtol=0)
    assert everything.remainder.abs().max() < 1e-5
    assert everything.method == "ConstantMask"
    nothing = Explainer(classifier, ConstantMask(0.0)).explain(clip)
    assert nothing.evidence.abs().max() < 1e-5
    torch.testing.assert_close(nothing.remainder, clip, atol=1e-5, rtol=0)


def test_evidence_is_the_masked_spectrogram_as_sound(explainer, clip):
    frontend = explainer.classifier.frontend
    result = explainer.explain(clip)
    peak = clip.abs().max()
    expected = frontend.inverse(frontend(clip[None] / peak).masked(result.mask[None]))[0] * peak
    torch.testing.assert_close(result.evidence, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("level", [1e-3, 0.1, 1.0, 7.0])
def test_sounds_have_the_level_of_the_recording(explainer, clip, level):
    result, other = explainer.explain(clip), explainer.explain(level * clip)
    torch.testing.assert_close(other.mask, result.mask, atol=1e-4, rtol=1e-4)
    for name in ("original", "evidence", "remainder"):
        torch.testing.assert_close(
            getattr(other, name), level * getattr(result, name), atol=1e-4 * level, rtol=1e-3
        )


def test_recordings_are_read_from_files(explainer, clip, tmp_path):
    path = save_audio(tmp_path / "take 1.wav", clip)
    result = explainer.explain(path)
    assert result.name == "take 1"
    assert torch.equal(result.mask, explainer.explain(clip).mask)
    assert explainer.explain(str(path), name="mine").name == "mine"
    assert explainer.explain(clip, name="mine").name == "mine"
    soundfile.write(tmp_path / "loud.wav", torch.randn(4410, 2).numpy() / 9, 44_100)
    assert explainer.explain(tmp_path / "loud.wav").original.shape == (1600,)


def test_a_target_replaces_the_predicted_class(explainer, clip):
    predicted = explainer.explain(clip)
    for target in LABELS:
        result = explainer.explain(clip, target=target)
        assert (result.label, result.predicted) == (target, predicted.predicted)
        assert result.probabilities == predicted.probabilities
        assert result.notes == []
        assert torch.equal(result.mask, predicted.mask) == (target == predicted.label)
        drop = result.probabilities[target] - result.scores["p_remainder"]
        assert result.scores["FF"] == pytest.approx(drop, abs=1e-5)
    with pytest.raises(ConfigurationError, match="does not know 'cat'; there are dog, rain, clock"):
        explainer.explain(clip, target="cat")


def test_a_note_says_that_the_mask_is_the_same_for_every_target(classifier, clip):
    explainer = Explainer(classifier, PIQInterpreter(classifier, use_vq=False))
    masks = [explainer.explain(clip, target=target, scores=False) for target in ("dog", "rain")]
    assert torch.equal(masks[0].mask, masks[1].mask)
    assert "the same for every target" in masks[0].notes[0]
    assert explainer.explain(clip, scores=False).notes == []


def test_recordings_in_a_batch_are_explained_as_alone(explainer):
    clips = [0.2 * torch.randn(9000), 0.7 * torch.randn(5000), torch.randn(100), torch.zeros(7000)]
    together = explainer.explain_batch(clips, names=["a", "b", "c", "d"])
    assert [result.name for result in together] == ["a", "b", "c", "d"]
    for clip, result in zip(clips, together, strict=True):
        alone = explainer.explain(clip)
        assert result.original.shape == clip.shape
        assert result.label == alone.label
        assert result.mask.shape == alone.mask.shape
        torch.testing.assert_close(result.mask, alone.mask, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(result.log_magnitude, alone.log_magnitude, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result.evidence, alone.evidence, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(result.remainder, alone.remainder, atol=1e-4, rtol=1e-3)
        assert result.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
        assert result.scores == pytest.approx(alone.scores, abs=1e-2, rel=1e-3, nan_ok=True)


def test_names_of_a_batch_default_to_numbers(explainer):
    results = explainer.explain_batch([torch.randn(900), torch.randn(900)], scores=False)
    assert [result.name for result in results] == ["clip0", "clip1"]


@pytest.mark.parametrize("samples", [1, 100, 371, 400])
def test_very_short_recordings(explainer, samples, tmp_path):
    result = explainer.explain(torch.rand(samples) + 0.1)
    assert result.evidence.shape == result.remainder.shape == (samples,)
    assert result.evidence.isfinite().all()
    result.save(tmp_path / "short")
    assert soundfile.info(str(tmp_path / "short" / "interpretation.wav")).frames == samples


def test_a_silent_recording(explainer, tmp_path):
    result = explainer.explain(torch.zeros(5000))
    assert result.notes == ["the recording is silent"]
    assert not result.evidence.any()
    assert not result.remainder.any()
    assert all(0 <= value <= 1 for value in result.probabilities.values())
    result.save(tmp_path / "silent")
    strict_json(tmp_path / "silent" / "explanation.json")
    assert "the recording is silent" in result._repr_html_()


@pytest.mark.parametrize("shape", [(0,), (2, 0), (300, 500), (2, 3, 500), ()])
def test_other_shapes_than_a_waveform_are_refused(explainer, shape):
    with pytest.raises(ShapeError, match="expected samples of shape"):
        explainer.explain(torch.zeros(shape))


def test_a_missing_file_is_named(explainer, tmp_path):
    with pytest.raises(AudioError, match=r"absent\.wav: no such file"):
        explainer.explain(tmp_path / "absent.wav")


def strict_json(path):
    def refuse(text):
        raise AssertionError(text)

    return json.loads(path.read_text(), parse_constant=refuse)


def test_save_writes_sounds_picture_and_numbers(explainer, clip, tmp_path):
    result = explainer.explain(clip)
    folder = result.save(tmp_path / "new" / "folder")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for name, wave in (("original", clip), ("interpretation", result.evidence), ("remainder", result.remainder)):
        samples, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
        assert rate == 16_000
        assert torch.equal(torch.from_numpy(samples), wave)
    assert (folder / "spectra.png").read_bytes().startswith(b"\x89PNG")
    content = strict_json(folder / "explanation.json")
    assert content == json.loads(json.dumps(result.to_dict()))
    assert content["duration_s"] == 9000 / 16_000
    assert list(content["probabilities"].values()) == sorted(content["probabilities"].values(), reverse=True)
    result.save(folder)  # replaces the files
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_nan_becomes_null(explainer, clip, tmp_path):
    result = explainer.explain(clip)
    result.scores["COMP"] = result.controls["random"]["COMP"] = float("nan")
    content = strict_json(result.save(tmp_path / "nan") / "explanation.json")
    assert content["scores"]["COMP"] is None
    assert content["controls"]["random"]["COMP"] is None


def test_a_folder_that_cannot_be_written_is_named(explainer, clip, tmp_path, monkeypatch):
    result = explainer.explain(clip, scores=False)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AudioError, match=r"file/original\.wav: cannot be written"):
        result.save(tmp_path / "file")

    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("otoscope.explanation.saving.save_picture", refuse)
    with pytest.raises(OtoscopeError, match=r"full: cannot be written \(.*No space left"):
        result.save(tmp_path / "full")


def test_summary_names_class_probability_and_verdict(explainer, clip):
    result = explainer.explain(clip, name="garden")
    label, probability = result.label, result.probabilities[result.label]
    assert result.summary() == f"garden: {label} (p = {probability:.2f}). {result.verdict}"
    assert f"({probability:.2f} -> {result.scores['p_evidence']:.2f})" in result.summary()
    other = next(name for name in LABELS if name != label)
    result = explainer.explain(clip, target=other, scores=False)
    assert result.summary() == (
        f"clip: {other} (p = {result.probabilities[other]:.2f}), predicted {label} (p = {probability:.2f})"
    )


@pytest.mark.parametrize("lengths", [[9000], [9000, 5000]])
def test_scores_are_those_of_the_saved_sounds(explainer, classifier, lengths, tmp_path):
    recordings = [0.2 * torch.randn(length) for length in lengths]
    for i, result in enumerate(explainer.explain_batch(recordings)):
        folder = result.save(tmp_path / str(i))
        for part, score in (("interpretation", "p_evidence"), ("remainder", "p_remainder")):
            again = explainer.explain(folder / f"{part}.wav", scores=False)
            assert again.probabilities[result.label] == pytest.approx(result.scores[score], abs=1e-5)
            # a sound is analysed again, the masked spectrogram is not
            assert abs(result.mask_scores[score] - result.scores[score]) > 1e-6
        content = json.loads((folder / "explanation.json").read_text())
        assert content["scores"]["p_evidence"] == pytest.approx(result.scores["p_evidence"], abs=1e-6)
        assert content["mask"]["scores"]["FF"] == pytest.approx(result.mask_scores["FF"], abs=1e-6)
        assert content["verdict"]["level"] == result.verdict.level


def test_untrained_methods_keep_the_decisive_share_or_the_smallest_that_suffices(classifier, clip):
    explainer = Explainer(classifier, make_untrained("integrated_gradients", classifier))
    result = explainer.explain(clip)
    share = result.sufficient if result.decisive is None else result.decisive
    assert share == pytest.approx(float(result.mask.mean()))
    assert result.notes == []
    sufficient = Explainer(classifier, make_untrained("integrated_gradients", classifier, area="sufficient"))
    smallest = sufficient.explain(clip)
    assert smallest.sufficient == result.sufficient == pytest.approx(float(smallest.mask.mean()))
    assert smallest.notes == []
    assert result.scores["p_evidence"] >= 0.9 * result.probabilities[result.label]
    assert torch.equal(explainer.explain(clip, scores=False).mask, result.mask)
    assert torch.equal(explainer.interpret_batch([clip]).evidence[0], result.evidence)
    fixed = explainer.explain(clip, threshold=0.2)
    assert float(fixed.mask.mean()) == pytest.approx(0.2, abs=1e-4)
    assert fixed.sufficient == result.sufficient
    assert explainer.interpreter.area == "decisive"


def test_an_attribution_that_is_zero_everywhere_is_reported(classifier, clip):
    class Nothing(InputXGradientInterpreter):
        def attribute(self, spectrogram, target):
            return torch.zeros_like(spectrogram.log_magnitude)

    result = Explainer(classifier, Nothing(classifier)).explain(clip)
    assert not result.mask.any()
    assert result.sufficient is None
    assert result.verdict.level == "not supported"
    (note,) = result.notes
    assert note.startswith("the mask is empty: the attribution is zero everywhere (no gradient: saturated output")


def test_view_in_a_notebook(explainer, clip):
    explanation = explainer.explain(clip, name="<b>take</b>", scores=False)
    html = explanation._repr_html_()
    assert html.count("data:audio/ogg;base64") == 3
    page = unescape(re.search(r'srcdoc="([^"]*)"', html)[1])
    assert "<b>take" not in html + page  # escaped in the page, which is escaped in the frame
    assert "&lt;b&gt;take" in page
    (listed,) = explainer.explain_batch([clip], scores=False, names=["<b>take</b>"])
    assert len(listed._repr_html_()) == pytest.approx(len(html), rel=0.01)


def test_texts_of_objects_are_short(explainer, clip):
    assert repr(explainer) == "Explainer(PIQ of Conv2dClassifier, 3 classes, 16000 Hz)"
    explanations = explainer.explain_batch([clip, clip, clip], scores=False)
    assert repr(explanations) == "Explanations(3, 3 no verdict: 'clip0', 'clip1', 'clip2')"
    assert re.fullmatch(
        r"Explanation\('clip0', '\w+' \(p = [01]\.\d\d\), PIQ, [\d.]+ % of the area, 0\.56 s at 16000 Hz\)",
        repr(explanations[0]),
    )
    assert isinstance(explanations[1:] + explanations[:1], Explanations)
    assert [each.name for each in explanations[1:] + explanations[:1]] == ["clip1", "clip2", "clip0"]
    assert "Conv2dClassifier" in explainer._repr_html_()
    assert "dog, rain, clock" in explainer._repr_html_()


def test_plot_has_a_panel_for_everything_that_is_known(explainer, clip):
    figure = explainer.explain(clip).plot()
    titles = [title for axes in figure.axes if (title := axes.get_title(loc="left"))]
    assert titles[0] == "Recording"
    assert titles[-2] == "Decision"
    assert titles[-1].startswith("How much suffices")
    bare = explainer.explain(clip, scores=False).plot("mel")
    assert not any(axes.get_title(loc="left").startswith("How much") for axes in bare.axes)


def test_listening_copies_are_as_loud_as_the_recording(classifier, tmp_path):
    recording = 0.9 * torch.sin(torch.arange(16_000) * 0.3) + 0.05 * torch.randn(16_000)
    folder = Explainer(classifier, ConstantMask(0.2)).explain(recording / 8).save(tmp_path / "clip")
    levels = {}
    for name in ("original.wav", "interpretation.wav", "interpretation_levelled.flac"):
        samples, _ = soundfile.read(folder / name)
        levels[name] = active_level(torch.from_numpy(samples))
        assert abs(samples).max() <= 1
    assert levels["interpretation.wav"] < 0.5 * levels["original.wav"]
    assert levels["interpretation_levelled.flac"] == pytest.approx(levels["original.wav"], rel=0.01)


def test_pictures_of_another_format_are_replaced(explainer, clip, tmp_path):
    explanation = explainer.explain(clip, scores=False)
    explanation.save(tmp_path / "clip")
    explanation.save(tmp_path / "clip", picture="svg", axis="log")
    assert [path.name for path in (tmp_path / "clip").glob("spectra.*")] == ["spectra.svg"]


def test_load_opens_a_model_folder(explainer, clip, tmp_path):
    save_interpreter(explainer.interpreter, explainer.classifier, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.labels == LABELS
    assert loaded.method == "PIQ"
    result, expected = loaded.explain(clip), explainer.explain(clip)
    torch.testing.assert_close(result.evidence, expected.evidence, atol=1e-6, rtol=1e-5)
    assert loaded.to("cpu") is loaded


def test_load_reports_what_is_missing(classifier, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: is no model folder"):
        load(tmp_path / "nowhere")
    save_classifier(classifier, tmp_path / "classifier")


def test_a_classifier_without_an_interpreter_is_explained_by_the_default_method(classifier, tmp_path, capsys):
    folder = save_classifier(classifier, tmp_path / "classifier")
    loaded = load(folder, area=0.2)
    assert loaded.method == METHODS[DEFAULT_METHOD].title
    assert loaded.interpreter.area == 0.2
    output, line = capsys.readouterr()
    assert output == ""
    assert line.count("\n") == 1
    assert f"{folder}: holds a classifier without an interpreter; it is explained by {loaded.method}" in line
    with pytest.raises(ConfigurationError, match="there is no option 'aera'; did you mean 'area'"):
        load(folder, aera=0.2)


def test_a_black_box_without_an_interpreter_is_explained_without_gradients(
    classifier, tmp_path, capsys, monkeypatch
):
    folder = save_classifier(classifier, tmp_path / "classifier")
    monkeypatch.setattr(Conv2dClassifier, "differentiable", False)
    assert load(folder).method == METHODS[DEFAULT_BLACK_BOX].title
    assert "and gives no gradients; it is explained by segment regression" in capsys.readouterr().err


@pytest.fixture
def l2i(classifier):
    """Explainer with L2I, whose components all have a relevance other than zero."""
    torch.manual_seed(3)
    dictionary = NMFDictionary(torch.rand(513, 8) ** 4, classifier.frontend)
    return Explainer(classifier, L2IInterpreter(classifier, dictionary))


def test_components_belong_to_the_mask(l2i, clip):
    result = l2i.explain(clip)
    assert result.components is not None
    assert result.components.threshold == 0.2
    torch.testing.assert_close(result.components.mask(), result.mask)
    relevance = result.components.relevance
    assert relevance.abs().max() == pytest.approx(1)
    top = result.top_components(3)
    assert 0 < len(top) <= 3
    assert [component.index for component in top] == result.components.relevant[:3]
    assert all(component.relevance == relevance[component.index] > 0.2 for component in top)
    assert all(component.waveform.shape == clip.shape for component in top)
    assert {"Fid-L2I", "Fid-L2I@3"} <= result.scores.keys()
    assert f"{len(result.components.relevant)} of 8 components" in result.summary()


def test_sound_of_a_component_is_what_its_mask_keeps(l2i, clip):
    result = l2i.explain(clip, scores=False)
    frontend, gain = l2i.classifier.frontend, clip.abs().max()
    spectrogram = frontend(clip[None] / gain)
    [first, *_] = result.top_components(1)
    expected = gain * frontend.inverse(spectrogram.masked(result.components.mask([first.index])[None]))[0]
    torch.testing.assert_close(first.waveform, expected)
    torch.testing.assert_close(result.masked_sound(result.mask), result.evidence, rtol=1e-4, atol=1e-5)
    everything = result.masked_sound(torch.ones_like(result.mask))
    torch.testing.assert_close(everything, clip, rtol=1e-3, atol=1e-4)


def test_threshold_after_explaining_equals_threshold_of_explaining(l2i, clip):
    result = l2i.explain(clip)
    for threshold in (-1, 0.05, 0.6):
        afterwards, at_once = result.at_threshold(threshold), l2i.explain(clip, threshold=threshold)
        assert afterwards.components.relevant == at_once.components.relevant
        torch.testing.assert_close(afterwards.mask, at_once.mask)
        torch.testing.assert_close(afterwards.evidence, at_once.evidence, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(afterwards.remainder, at_once.remainder, rtol=1e-4, atol=1e-5)
        assert afterwards.scores == afterwards.controls == {}
        assert at_once.scores
    assert l2i.interpreter.relevance_threshold == 0.2
    assert (result.at_threshold(-1).mask >= result.at_threshold(0.6).mask).all()


def test_a_note_says_that_no_component_is_relevant(l2i, clip):
    result = l2i.explain(clip)
    irrelevant = replace(result, components=replace(result.components, relevance=-torch.ones(8)))
    empty = irrelevant.at_threshold(0.9)
    assert empty.mask.count_nonzero() == 0
    assert empty.evidence.abs().max() < 1e-6
    assert "no component is relevant above the threshold: the mask is empty" in empty.notes
    assert empty.top_components() == []
    assert replace(empty, components=result.components).at_threshold(0.2).notes == []


def test_threshold_is_checked(explainer, l2i, clip):
    with pytest.raises(ConfigurationError, match="has no components"):
        explainer.explain(clip, scores=False).at_threshold(0.5)
    with pytest.raises(ConfigurationError, match="must lie in"):
        l2i.explain(clip, scores=False).at_threshold(1)
    with pytest.raises(ConfigurationError, match="relevance_threshold: 2"):
        l2i.explain(clip, threshold=2)
    with pytest.raises(ConfigurationError, match="threshold: this interpreter has none"):
        explainer.explain(clip, threshold=0.5)
    assert l2i.interpreter.relevance_threshold == 0.2


def test_threshold_of_a_softplus_mask(classifier, clip):
    explainer = Explainer(classifier, PIQInterpreter(classifier, codes=12, use_mask_output=False))
    low, high = (explainer.explain(clip, scores=False, threshold=value).mask for value in (0.1, 0.9999))
    assert low.mean() > high.mean()
    assert (low >= high).all()
    assert explainer.interpreter.mask_threshold == 0.35


def test_files_of_components(l2i, clip, tmp_path):
    result = l2i.explain(clip)
    folder = result.save(tmp_path / "clip")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "components", "components.png"])
    content = json.loads((folder / "explanation.json").read_text())
    assert content["relevance_threshold"] == 0.2
    assert [component["index"] for component in content["components"]] == result.components.relevant
    sounds = sorted((folder / "components").iterdir())
    assert len(sounds) == min(5, len(result.components.relevant))
    assert sounds[0].name.startswith(f"1-component{result.components.relevant[0]:03d}-")
    assert soundfile.info(sounds[0]).frames == 9000
    fewer = result.at_threshold(0.99)
    fewer.save(folder)
    assert len(list(folder.glob("components/*"))) == len(fewer.components.relevant)


def test_components_in_a_batch_are_those_of_each_clip(l2i):
    clips = [0.3 * torch.randn(9000), 0.1 * torch.randn(5000)]
    together = l2i.explain_batch(clips, scores=False)
    for result, clip in zip(together, clips, strict=True):
        alone = l2i.explain(clip, scores=False)
        assert result.components.activations.shape == alone.components.activations.shape
        torch.testing.assert_close(result.components.relevance, alone.components.relevance, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(result.components.mask(), result.mask)


def test_an_untrained_method_explains_the_classifier_of_any_model_folder(explainer, clip, tmp_path):
    trained = save_interpreter(explainer.interpreter, explainer.classifier, tmp_path / "model")
    plain = save_classifier(explainer.classifier, tmp_path / "classifier")
    for folder in (trained, plain):
        loaded = load(folder, "input-x-gradient", area=0.1)
        assert loaded.method == "input x gradient"
        result = loaded.explain(clip, scores=False)
        assert float(result.mask.mean()) == pytest.approx(0.1, abs=1e-3)


def test_unknown_methods_and_options_are_named(explainer, tmp_path):
    plain = save_classifier(explainer.classifier, tmp_path / "classifier")
    unknown = r"there is no 'nonsense' that needs no training; there are .*saliency.*holds a classifier without"
    with pytest.raises(ConfigurationError, match=unknown):
        load(plain, "nonsense")
    with pytest.raises(ConfigurationError, match=r"input_x_gradient.*widht"):
        load(plain, "input_x_gradient", widht=3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_samples_are_refused(explainer, clip, value):
    broken = torch.as_tensor(clip).clone()
    broken[5] = value
    with pytest.raises(AudioError, match="clip: holds NaN or infinite values"):
        explainer.explain(broken)


def test_a_mask_that_is_not_finite_is_refused(explainer, clip, monkeypatch):
    mask = explainer.interpreter.mask
    monkeypatch.setattr(explainer.interpreter, "mask", lambda *arguments: mask(*arguments) * torch.nan)
    with pytest.raises(UnsuitableMethodError, match=r"its mask is not finite.*try another method, such as"):
        explainer.explain(clip)
