"""Dictionaries: model folders, centroids, activations, and components as sounds."""

import json

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.errors import CheckpointError, ShapeError
from otoscope.loading import load_dictionary
from otoscope.nn import NMFDictionary, infer_activations

FRONTEND = {"sample_rate_hz": 8_000, "n_fft": 256, "window_ms": 20.0, "hop_ms": 8.0}


@pytest.fixture
def dictionary():
    return NMFDictionary(torch.rand(129, 6) ** 3, Frontend(**FRONTEND), levels=torch.rand(6) + 0.5)


@pytest.fixture
def folder(dictionary, tmp_path):
    return dictionary.save(tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def bump(*bins):
    """Return one component for each bin, which is 1 at this bin alone."""
    return torch.eye(129)[:, list(bins)]


def test_round_trip(dictionary, folder):
    loaded = load_dictionary(str(folder))
    assert torch.equal(loaded.components, dictionary.components)
    assert torch.equal(loaded.levels, dictionary.levels)
    assert loaded.frontend.config == dictionary.frontend.config
    assert len(loaded) == len(dictionary) == 6
    assert list(loaded.parameters()) == []


def test_details_are_saved_beside_it(dictionary, tmp_path):
    folder = dictionary.save(tmp_path / "model", metrics={"error": 0.25})
    assert json.loads((folder / "config.json").read_text()) == {
        "format": 1,
        "kind": "dictionary",
        "class": "nmf",
        "init": {"components": 6},
        "frontend": dictionary.frontend.config,
        "metrics": {"error": 0.25},
    }


def test_a_dictionary_holds_a_copy(dictionary):
    components, levels = torch.rand(129, 2, requires_grad=True), torch.ones(2)
    copy = NMFDictionary(components, dictionary.frontend, levels)
    with torch.no_grad():
        components.fill_(-1)
        levels.fill_(-1)
    assert not copy.components.requires_grad
    assert (copy.components >= 0).all()
    assert (copy.levels == 1).all()


@pytest.mark.parametrize("shape", [(128, 6), (6, 129), (129,), (1, 129, 6)])
def test_another_number_of_bins_than_that_of_the_frontend_is_refused(shape):
    with pytest.raises(ShapeError, match=r"expected \(129, components\) for a front-end of 8000 Hz, n_fft 256"):
        NMFDictionary(torch.rand(shape), Frontend(**FRONTEND))


def test_negative_components_are_refused():
    with pytest.raises(ShapeError, match="must not be negative"):
        NMFDictionary(bump(3) - 1e-3, Frontend(**FRONTEND))


def test_a_model_of_another_kind_is_refused(tmp_path):
    folder = save_classifier(Conv2dClassifier(["dog", "rain"], width=2), tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model: holds no NMF dictionary; train one, for instance"):
        load_dictionary(folder)


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match="absent: is no model folder"):
        load_dictionary(tmp_path / "absent")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"init": ...}, "init: is missing"),
        ({"frontend": ...}, "frontend: is missing"),
        ({"init": {"components": "many"}}, "init.components: "),
        ({"init": {}}, "components"),
        ({"frontend": {"fft": 3}}, "frontend.fft: is no option"),
    ],
    ids=str,
)
def test_a_config_that_describes_no_dictionary(folder, changes, key):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{key}"):
        load_dictionary(folder)


def test_weights_of_another_shape(folder):
    edit_config(folder, init={"components": 7})
    with pytest.raises(CheckpointError, match=r"components has shape \(129, 6\) instead of \(129, 7\)"):
        load_dictionary(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        load_dictionary(folder)


def test_centroid_of_one_bin_is_its_frequency():
    bins = (0, 1, 64, 128)
    dictionary = NMFDictionary(2 * bump(*bins), Frontend(**FRONTEND))
    torch.testing.assert_close(dictionary.centroids_hz, torch.tensor([0, 31.25, 2000, 4000]))


def test_centroid_is_the_centre_of_gravity(dictionary):
    expected = []
    for column in dictionary.components.T.tolist():
        moment = sum(8_000 / 256 * k * weight for k, weight in enumerate(column))
        expected.append(moment / sum(column))
    torch.testing.assert_close(dictionary.centroids_hz, torch.tensor(expected))


def test_centroid_of_an_empty_component_is_finite():
    dictionary = NMFDictionary(torch.zeros(129, 1), Frontend(**FRONTEND))
    assert dictionary.centroids_hz.tolist() == [0]


def test_sorted_puts_the_lowest_first(dictionary):
    ordered = dictionary.sorted()
    assert (ordered.centroids_hz.diff() > 0).all()
    order = sorted(range(6), key=dictionary.centroids_hz.tolist().__getitem__)
    assert order != list(range(6))
    assert torch.equal(ordered.components, dictionary.components[:, order])
    assert torch.equal(ordered.levels, dictionary.levels[order])
    assert ordered.frontend is dictionary.frontend


def test_activations_explain_each_frame(dictionary):
    planted = 2 * torch.rand(2, 6, 15) * (torch.rand(2, 6, 15) < 0.5)
    log_magnitude = dictionary.components @ planted
    activations = dictionary.activations(log_magnitude, sparsity=0.0)
    assert activations.shape == planted.shape
    torch.testing.assert_close(activations, planted, rtol=0, atol=1e-3)
    sparse = dictionary.activations(log_magnitude)
    assert sparse.sum() < activations.sum()
    frame = infer_activations(log_magnitude[1, :, 4][None], dictionary.components, sparsity=0.8)
    torch.testing.assert_close(sparse[1, :, 4], frame[0], rtol=1e-3, atol=1e-3)


def test_padding_has_no_activation_and_changes_none(dictionary):
    log_magnitude, frames = torch.rand(3, 129, 12), torch.tensor([12, 5, 1])
    log_magnitude = dictionary.components @ torch.rand(3, 6, 12)
    activations = dictionary.activations(log_magnitude, frames, sparsity=0.1)
    for clip, rows, n in zip(log_magnitude, activations, frames.tolist(), strict=True):
        alone = dictionary.activations(clip[None, :, :n], sparsity=0.1)[0]
        torch.testing.assert_close(rows[:, :n], alone, rtol=1e-3, atol=1e-4)
        assert rows[:, n:].count_nonzero() == 0


@pytest.mark.parametrize("duration_s", [0.05, 0.5, 1.0])
def test_sound_has_its_length_and_level(dictionary, duration_s):
    sound = dictionary.sound(2, duration_s)
    assert sound.shape == (round(8_000 * duration_s),)
    assert sound.abs().max().item() == pytest.approx(0.9)
    assert torch.equal(sound, dictionary.sound(2, duration_s))


@pytest.mark.parametrize("hz", [500, 1000, 3000])
def test_sound_lies_where_its_component_does(hz):
    center = round(hz / 31.25)
    spectrum = torch.zeros(129, 2)
    spectrum[center - 2 : center + 3, 0] = 1.5
    sound = NMFDictionary(spectrum, Frontend(**FRONTEND)).sound(0)
    power = torch.fft.rfft(sound).abs().square()
    frequencies = torch.fft.rfftfreq(len(sound), 1 / 8_000)
    assert power[(frequencies - hz).abs() < 200].sum() > 0.95 * power.sum()
    assert ((frequencies * power).sum() / power.sum()).item() == pytest.approx(hz, rel=0.05)


def test_the_level_shapes_the_sound():
    """The spectrum is of the logarithm: at a higher level the loudest bins stand out more."""
    spectrum = torch.zeros(129, 1)
    spectrum[20], spectrum[90] = 1.0, 0.5
    shares = []
    for level in (0.1, 6.0):
        dictionary = NMFDictionary(spectrum, Frontend(**FRONTEND), torch.tensor([level]))
        power = torch.fft.rfft(dictionary.sound(0)).abs().square()
        shares.append((power[:1700].sum() / power.sum()).item())
    assert 0.75 < shares[0] < 0.9  # 1 : 0.5 in amplitude
    assert shares[1] > 0.99


def test_an_empty_component_is_silent():
    dictionary = NMFDictionary(torch.zeros(129, 1), Frontend(**FRONTEND))
    assert dictionary.sound(0).abs().max() == 0
