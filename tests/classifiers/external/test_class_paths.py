"""Classes and functions that configurations name."""

import pytest
from torch import nn

from otoscope.classifiers.external.class_paths import is_named, make_named, name_of, reject_untrusted
from otoscope.errors import CheckpointError, ConfigurationError


def test_nested_objects_are_made_first():
    spec = {
        "class_path": "torch.nn.TransformerEncoder",
        "init_args": {
            "encoder_layer": {
                "class_path": "torch.nn.TransformerEncoderLayer",
                "init_args": {"d_model": 4, "nhead": 2, "batch_first": True},
            },
            "num_layers": 2,
        },
    }
    module = make_named(spec, "module")
    assert isinstance(module, nn.TransformerEncoder)
    assert module.num_layers == 2


def test_functions_are_looked_up_and_not_called():
    assert make_named({"class_path": "otoscope.audio.peak_normalize"}, "input").__name__ == "peak_normalize"


def test_other_values_are_unchanged():
    for value in (3, "mel", {"width": 4}, [1, {"a": 2}], None):
        assert make_named(value, "x") == value
        assert not is_named(value)


@pytest.mark.parametrize("path", ["nowhere.Net", "Net", "torch.nn.Nothing", ""])
def test_unknown_class_path_is_reported(path):
    with pytest.raises(ConfigurationError, match="net: there is no"):
        make_named({"class_path": path}, "net")


def test_only_importable_objects_have_a_class_path():
    from otoscope.audio import peak_normalize

    assert name_of(peak_normalize) == {"class_path": "otoscope.audio.frontend.peak_normalize"}
    assert name_of(lambda x: x) is None
    assert name_of(nn.Linear(1, 1)) is None


def test_untrusted_classes_are_rejected():
    reject_untrusted({"a": [{"class_path": "torch.nn.Linear", "init_args": {"in_features": 2}}, 3]}, "folder")
    reject_untrusted({"class_path": "otoscope.audio.frontend.peak_normalize"}, "folder")
    for path in ("os.system", "subprocess.run", "torch.load", "not_imported.Net", "builtins.eval"):
        with pytest.raises(CheckpointError, match="folder: "):
            reject_untrusted({"deep": [{"class_path": path, "init_args": {}}]}, "folder")
