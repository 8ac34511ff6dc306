import pytest
import torch

from otoscope.classifiers import Conv2dClassifier, load_classifier, save_classifier
from otoscope.errors import CheckpointError
from otoscope.interpreters import PIQInterpreter, load_interpreter, save_interpreter
from otoscope.interpreters.base import masked_mean


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(["dog", "rain", "clock"], width=4, head_width=5)).freeze()


@pytest.fixture
def folder(classifier, tmp_path):
    return save_interpreter(PIQInterpreter(classifier, codes=12), classifier, tmp_path / "model")


@pytest.mark.parametrize("shape", [(3, 6), (3, 4, 6), (3, 2, 4, 6)])
def test_masked_mean_counts_no_padding(shape):
    values, frames = torch.randn(shape), (6, 1, 4)
    counted = [
        float(value) for clip, length in zip(values, frames, strict=True) for value in clip[..., :length].flatten()
    ]
    for clip, length in zip(values, frames, strict=True):
        clip[..., length:] = torch.nan
    assert masked_mean(values, torch.tensor(frames)).item() == pytest.approx(sum(counted) / len(counted), abs=1e-6)


def test_masked_mean_without_padding_is_the_mean():
    values = torch.randn(3, 4, 6)
    torch.testing.assert_close(masked_mean(values, None), values.mean())
    torch.testing.assert_close(masked_mean(values, torch.tensor([6, 6, 6])), values.mean())


def test_masked_mean_gives_padding_no_gradient():
    values = torch.full((2, 3), torch.inf)
    values[:, 0] = 1
    values.requires_grad_()
    masked_mean(values, torch.tensor([1, 1])).backward()
    assert values.grad.tolist() == [[0.5, 0, 0], [0.5, 0, 0]]


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
