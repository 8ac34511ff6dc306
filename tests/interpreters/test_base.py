import itertools

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier, Prediction, load_classifier, save_classifier
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.interpreters import Components, Interpreter, PIQInterpreter, load_interpreter, save_interpreter
from otoscope.nn import NMFDictionary


class LevelInterpreter(Interpreter):
    """The least that a user has to write: a bin counts where it is loud."""

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

    @property
    def config(self):
        return {"level": self.level}

    def decode(self, log_magnitude, prediction, frames=None):
        return log_magnitude

    def mask(self, decoded, frames=None):
        return (decoded > self.level).float()

    def loss(self, decoded, log_magnitude, prediction, frames=None):
        return {}


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(["dog", "rain", "clock"], width=4, head_width=5)).freeze()


@pytest.fixture
def folder(classifier, tmp_path):
    return save_interpreter(PIQInterpreter(classifier, codes=12), classifier, tmp_path / "model")


@pytest.fixture
def parts():
    """Four components on a small spectrogram; the last frame and the last bin are silent."""
    dictionary, activations = torch.rand(5, 4), torch.rand(4, 6)
    dictionary[4], activations[:, 5] = 0, 0
    return Components(dictionary, activations, torch.tensor([0.3, -1.0, 1.0, 0.1]), threshold=0.2)


def slow_share(parts, chosen):
    """Share of the model, bin by bin."""
    mask = torch.zeros(5, 6)
    for f, t in itertools.product(range(5), range(6)):
        each = [float(parts.dictionary[f, k] * parts.activations[k, t]) for k in range(4)]
        mask[f, t] = sum(each[k] for k in chosen) / sum(each) if sum(each) > 0 else 0
    return mask


def test_relevant_components_are_named_the_most_relevant_first(parts):
    assert parts.relevant == [2, 0]
    parts.threshold = 1.0
    assert parts.relevant == []
    parts.threshold = -1.0
    assert parts.relevant == [2, 0, 3]  # above, not at


@pytest.mark.parametrize("chosen", [[], [0], [3, 1], [0, 1, 2, 3]])
def test_mask_is_the_share_of_the_chosen_components(parts, chosen):
    torch.testing.assert_close(parts.mask(chosen), slow_share(parts, chosen), rtol=1e-5, atol=1e-6)


def test_mask_is_that_of_the_relevant_components_unless_asked(parts):
    assert torch.equal(parts.mask(), parts.mask([2, 0]))
    assert parts.mask()[4].count_nonzero() == 0
    assert parts.mask()[:, 5].count_nonzero() == 0


def test_masks_of_all_components_add_up_to_one_where_the_model_sounds(parts):
    total = sum(parts.mask([k]) for k in range(4))
    torch.testing.assert_close(total[:4, :5], torch.ones(4, 5))
    assert total[4].count_nonzero() == total[:, 5].count_nonzero() == 0


def test_components_on_the_cpu_are_the_same(parts):
    moved = parts.cpu()
    assert moved.threshold == parts.threshold
    assert moved.relevant == parts.relevant
    assert torch.equal(moved.mask(), parts.mask())


def test_a_threshold_is_changed_for_a_while(classifier):
    interpreter, log_magnitude = LevelInterpreter(classifier), torch.rand(1, 5, 6)
    decoded = interpreter.decode(log_magnitude, None)
    before = interpreter.mask(decoded)
    with interpreter.at_threshold(0.9):
        assert torch.equal(interpreter.mask(decoded), (log_magnitude > 0.9).float())
        assert interpreter.config == {"level": 0.9}
    assert interpreter.level == 0.5
    assert torch.equal(interpreter.mask(decoded), before)
    with interpreter.at_threshold(None):
        assert interpreter.level == 0.5


def test_a_threshold_comes_back_after_an_error(classifier):
    interpreter = LevelInterpreter(classifier)
    with pytest.raises(KeyError), interpreter.at_threshold(0.9):
        raise KeyError
    assert interpreter.level == 0.5


def test_a_threshold_out_of_range_is_refused_and_leaves_the_own_one(classifier):
    interpreter = LevelInterpreter(classifier)
    with pytest.raises(ConfigurationError, match="level: 2 must lie"), interpreter.at_threshold(2):
        pass
    assert interpreter.level == 0.5


def test_a_method_without_threshold_says_so(classifier):
    interpreter = PIQInterpreter(classifier, codes=12)
    with interpreter.at_threshold(None):
        pass
    with (
        pytest.raises(ConfigurationError, match="threshold: this interpreter has none"),
        interpreter.at_threshold(0.5),
    ):
        pass


def test_a_method_of_ones_own_needs_no_more(classifier, tmp_path):
    interpreter, log_magnitude = LevelInterpreter(classifier, 0.25), torch.rand(2, 513, 40)
    prediction = classifier(log_magnitude)
    mask = interpreter(log_magnitude, prediction)
    assert torch.equal(mask, interpreter.output(log_magnitude))
    assert interpreter.components(log_magnitude) is None
    assert interpreter.own_scores(log_magnitude, prediction) == {}
    assert interpreter.own_score_names == ()
    loaded, _ = load_interpreter(save_interpreter(interpreter, classifier, tmp_path / "own"))
    assert type(loaded) is LevelInterpreter
    assert loaded.level == 0.25
    assert torch.equal(loaded(log_magnitude, prediction), mask)


def test_forward_decodes_once(classifier):
    calls = []

    class Counting(LevelInterpreter):
        def decode(self, log_magnitude, prediction, frames=None):
            calls.append((prediction, frames))
            return log_magnitude

    prediction, frames = Prediction(torch.zeros(1, 3), ()), torch.tensor([6])
    Counting(classifier)(torch.rand(1, 5, 6), prediction, frames)
    assert calls == [(prediction, frames)]


def test_an_interpreter_brings_its_classifier(folder, classifier):
    interpreter, loaded = load_interpreter(folder)
    log_magnitude = torch.rand(2, 513, 40)
    assert isinstance(interpreter, PIQInterpreter)
    assert torch.equal(loaded(log_magnitude).logits, classifier(log_magnitude).logits)
    assert torch.equal(load_classifier(folder)(log_magnitude).logits, classifier(log_magnitude).logits)
    for module in (interpreter, loaded):
        assert not module.training
        assert not any(value.requires_grad for value in module.parameters())


def test_a_classifier_alone_is_no_interpreter(classifier, tmp_path):
    folder = save_classifier(classifier, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model: holds a classifier without an interpreter; train one"):
        load_interpreter(folder)


def test_a_dictionary_is_no_interpreter(classifier, tmp_path):
    folder = NMFDictionary(torch.rand(513, 3), classifier.frontend).save(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"model: holds an NMF dictionary, not an interpreter; train L2I"):
        load_interpreter(folder)


def test_missing_classifier(folder):
    (folder / "classifier" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="model/classifier: is no model folder"):
        load_interpreter(folder)


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match="is no model folder"):
        load_interpreter(tmp_path / "absent")


def test_a_classifier_of_another_width_does_not_fit(folder):
    save_classifier(Conv2dClassifier(["dog", "rain", "clock"], width=6), folder / "classifier")
    with pytest.raises(CheckpointError, match=r"has shape \(4,.* instead of \(6"):
        load_interpreter(folder)


def test_unknown_argument(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("use_vq", "use_qv"))
    with pytest.raises(CheckpointError, match=r"does not describe an interpreter .*use_qv"):
        load_interpreter(folder)


def test_a_class_that_is_no_interpreter(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("interpreters.piq.PIQInterpreter", "classifiers.Conv2dClassifier"))
    with pytest.raises(CheckpointError, match="is not a Interpreter"):
        load_interpreter(folder)


def test_more_may_be_kept_beside_it(classifier, tmp_path):
    interpreter = PIQInterpreter(classifier, codes=12)
    folder = save_interpreter(interpreter, classifier, tmp_path / "model", metrics={"AI": 61.6})
    assert '"AI": 61.6' in (folder / "config.json").read_text()
    assert load_interpreter(folder)[0].config == interpreter.config
