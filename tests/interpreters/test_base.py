"""Base class of interpreters, components, and model folders of interpreters."""

import itertools

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Conv2dClassifier, Prediction, save_classifier
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.interpreters import Components, Interpreter, PIQInterpreter, save_interpreter
from otoscope.loading import load_classifier, load_interpreter
from otoscope.nn import NMFDictionary


class LevelInterpreter(Interpreter):
    """Minimal interpreter of a user: the mask keeps the bins above a level."""

    class_specific = False
    threshold_name = "level"

    def __init__(self, classifier, level=0.5):
        super().__init__()
        self.level = level

    @property
    def level(self):
        return self._level

    @level.setter
    def level(self, value):
        if not 0 < value < 1:
            raise ConfigurationError(f"level: {value} must lie between 0 and 1")
        self._level = value

    def decode(self, spectrogram, prediction):
        return spectrogram.log_magnitude

    def mask(self, decoded, spectrogram):
        return (decoded > self.level).float()

    def loss(self, decoded, spectrogram, prediction):
        return {}


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(["dog", "rain", "clock"], width=4, head_width=5)).freeze()


@pytest.fixture
def folder(classifier, tmp_path):
    return save_interpreter(PIQInterpreter(classifier, codes=12), classifier, tmp_path / "model")


@pytest.fixture
def components():
    """Four components of a small spectrogram whose last frame and last frequency are silent."""
    dictionary, activations = torch.rand(5, 4), torch.rand(4, 6)
    dictionary[4], activations[:, 5] = 0, 0
    return Components(dictionary, activations, torch.tensor([0.3, -1.0, 1.0, 0.1]), threshold=0.2)


def slow_mask(components, chosen):
    """Return the share of the chosen components in the model, bin by bin."""
    mask = torch.zeros(5, 6)
    for f, t in itertools.product(range(5), range(6)):
        values = [float(components.dictionary[f, k] * components.activations[k, t]) for k in range(4)]
        mask[f, t] = sum(values[k] for k in chosen) / sum(values) if sum(values) > 0 else 0
    return mask


def test_relevant_components_are_listed_by_relevance(components):
    assert components.relevant == [2, 0]
    components.threshold = 1.0
    assert components.relevant == []
    components.threshold = -1.0
    assert components.relevant == [2, 0, 3]  # above, not at


@pytest.mark.parametrize("chosen", [[], [0], [3, 1], [0, 1, 2, 3]])
def test_mask_is_the_share_of_the_chosen_components(components, chosen):
    torch.testing.assert_close(components.mask(chosen), slow_mask(components, chosen), rtol=1e-5, atol=1e-6)


def test_mask_of_the_relevant_components_is_the_default(components):
    assert torch.equal(components.mask(), components.mask([2, 0]))
    assert components.mask()[4].count_nonzero() == 0
    assert components.mask()[:, 5].count_nonzero() == 0


def test_masks_of_all_components_sum_to_one_where_the_model_is_not_silent(components):
    total = sum(components.mask([k]) for k in range(4))
    torch.testing.assert_close(total[:4, :5], torch.ones(4, 5))
    assert total[4].count_nonzero() == total[:, 5].count_nonzero() == 0


def test_copy_on_the_cpu_is_the_same(components):
    moved = components.cpu()
    assert moved.threshold == components.threshold
    assert moved.relevant == components.relevant
    assert torch.equal(moved.mask(), components.mask())


def test_threshold_is_changed_inside_a_with_block(classifier):
    interpreter, spectrogram = LevelInterpreter(classifier), Spectrogram(torch.rand(1, 5, 6))
    decoded = interpreter.decode(spectrogram, None)
    before = interpreter.mask(decoded, spectrogram)
    with interpreter.at_threshold(0.9):
        assert torch.equal(interpreter.mask(decoded, spectrogram), (spectrogram.log_magnitude > 0.9).float())
        assert interpreter.config == {"level": 0.9}
    assert interpreter.level == 0.5
    assert torch.equal(interpreter.mask(decoded, spectrogram), before)
    with interpreter.at_threshold(None):
        assert interpreter.level == 0.5


def test_threshold_is_restored_after_an_error(classifier):
    interpreter = LevelInterpreter(classifier)
    with pytest.raises(KeyError), interpreter.at_threshold(0.9):
        raise KeyError
    assert interpreter.level == 0.5


def test_threshold_out_of_range_is_refused_and_changes_nothing(classifier):
    interpreter = LevelInterpreter(classifier)
    with pytest.raises(ConfigurationError, match="level: 2 must lie"), interpreter.at_threshold(2):
        pass
    assert interpreter.level == 0.5


def test_method_without_threshold_refuses_one(classifier):
    interpreter = PIQInterpreter(classifier, codes=12)
    with interpreter.at_threshold(None):
        pass
    with (
        pytest.raises(ConfigurationError, match="threshold: this interpreter has none"),
        interpreter.at_threshold(0.5),
    ):
        pass


def test_minimal_interpreter_is_complete(classifier, tmp_path):
    interpreter, spectrogram = LevelInterpreter(classifier, 0.25), Spectrogram(torch.rand(2, 513, 40))
    prediction = classifier.predict(spectrogram)
    decoded, mask = interpreter.decode(spectrogram, prediction), interpreter(spectrogram, prediction)
    assert torch.equal(mask, interpreter.output(decoded, spectrogram))
    assert interpreter.components(decoded, spectrogram) is None
    assert interpreter.maps(prediction) == {}
    assert interpreter.own_scores(decoded, prediction) == {}
    assert interpreter.own_score_names == ()
    assert interpreter.config == {"level": 0.25}
    loaded, _ = load_interpreter(save_interpreter(interpreter, classifier, tmp_path / "model"))
    assert type(loaded) is LevelInterpreter
    assert loaded.level == 0.25
    assert torch.equal(loaded(spectrogram, prediction), mask)


def test_classifier_is_kept_only_where_it_is_given_to_the_base_class(classifier):
    class KeepingInterpreter(LevelInterpreter):
        def __init__(self, classifier):
            super(LevelInterpreter, self).__init__(classifier)

    assert KeepingInterpreter(classifier).classifier is classifier
    assert list(KeepingInterpreter(classifier).modules())[1:] == []
    with pytest.raises(
        ConfigurationError, match=r"LevelInterpreter does not keep its classifier; pass it to super"
    ):
        _ = LevelInterpreter(classifier).classifier


def test_forward_decodes_once(classifier):
    calls = []

    class CountingInterpreter(LevelInterpreter):
        def decode(self, spectrogram, prediction):
            calls.append((spectrogram, prediction))
            return super().decode(spectrogram, prediction)

    spectrogram = Spectrogram(torch.rand(1, 5, 6), frames=torch.tensor([6]))
    prediction = Prediction(torch.zeros(1, 3), ())
    CountingInterpreter(classifier)(spectrogram, prediction)
    ((decoded_spectrogram, decoded_prediction),) = calls
    assert decoded_spectrogram is spectrogram
    assert decoded_prediction is prediction


def test_folder_holds_interpreter_and_classifier(folder, classifier):
    interpreter, loaded = load_interpreter(folder)
    spectrogram = Spectrogram(torch.rand(2, 513, 40))
    assert isinstance(interpreter, PIQInterpreter)
    assert torch.equal(loaded.logits(spectrogram), classifier.logits(spectrogram))
    assert torch.equal(load_classifier(folder).logits(spectrogram), classifier.logits(spectrogram))
    for module in (interpreter, loaded):
        assert not module.training
        assert not any(value.requires_grad for value in module.parameters())


def test_folder_of_a_classifier_is_refused(classifier, tmp_path):
    folder = save_classifier(classifier, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model: holds a classifier without an interpreter; train one"):
        load_interpreter(folder)


def test_folder_of_a_dictionary_is_refused(classifier, tmp_path):
    folder = NMFDictionary(torch.rand(513, 3), classifier.frontend).save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model: holds an NMF dictionary, not an interpreter; train L2I"):
        load_interpreter(folder)


def test_missing_classifier_is_reported(folder):
    (folder / "classifier" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="model/classifier: is no model folder"):
        load_interpreter(folder)


def test_missing_folder_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="is no model folder"):
        load_interpreter(tmp_path / "absent")


def test_classifier_of_another_width_is_refused(folder):
    save_classifier(Conv2dClassifier(["dog", "rain", "clock"], width=6), folder / "classifier")
    with pytest.raises(CheckpointError, match=r"has shape \(4,.* instead of \(6"):
        load_interpreter(folder)


def test_unknown_argument_is_reported(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("use_vq", "use_qv"))
    with pytest.raises(CheckpointError, match=r"config\.json: init\.use_qv: is no option"):
        load_interpreter(folder)


def test_class_that_is_no_interpreter_is_refused(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"piq"', '"conv2d"'))
    with pytest.raises(CheckpointError, match="is not an interpreter"):
        load_interpreter(folder)


def test_details_are_kept_beside_the_model(classifier, tmp_path):
    interpreter = PIQInterpreter(classifier, codes=12)
    folder = save_interpreter(interpreter, classifier, tmp_path / "model", metrics={"AI": 61.6})
    assert '"AI": 61.6' in (folder / "config.json").read_text()
    assert load_interpreter(folder)[0].config == interpreter.config
