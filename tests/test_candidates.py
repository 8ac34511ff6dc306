"""The choice among several sources of a model."""

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.candidates import choose
from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.errors import CheckpointError, ConfigurationError, MismatchError
from otoscope.loading import load_classifier, load_dictionary, load_start
from otoscope.nn import NMFDictionary


def conv2d(width=2, head_width=3):
    return Conv2dClassifier(["dog"], width=width, head_width=head_width)


def test_local_paths_come_in_their_order_and_the_hub_where_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = ["../absent/model", "results/nmf/1234/model", "owner/name/file.ckpt", "owner/other"]
    choice = choose(sources)
    assert (choice.source, choice.absent) == ("owner/name/file.ckpt", ("../absent/model", "results/nmf/1234/model"))
    (tmp_path / "results" / "nmf" / "1234" / "model").mkdir(parents=True)
    assert choose(sources).source == "results/nmf/1234/model"
    assert choose(["../absent/model", "../nowhere"]).source == "../nowhere", "its error says what is missing"
    assert choose([tmp_path / "a" / "b.ckpt", "owner/name"]).source == "owner/name", "a Path is no address"
    assert choose("../absent/model").source == "../absent/model"
    with pytest.raises(ConfigurationError, match="empty"):
        choose([])


def test_the_first_model_that_exists_is_opened_and_reported(tmp_path, capsys):
    folder = str(save_classifier(conv2d(), tmp_path / "model"))
    absent = str(tmp_path / "absent" / "deep" / "model")
    assert load_classifier([absent, folder]).labels == ["dog"]
    assert capsys.readouterr().out == f"classifier: {folder}; {absent} does not exist\n"
    load_classifier(folder)
    assert capsys.readouterr().out == "", "a single source needs no report"
    dictionary = str(NMFDictionary(torch.rand(513, 3), Frontend()).save(tmp_path / "nmf"))
    assert len(load_dictionary([dictionary, "owner/name"])) == 3


def test_a_damaged_model_is_not_passed_over(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_classifier([str(tmp_path / "model"), "owner/name"])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_start(conv2d(), [str(tmp_path / "model"), None])


def test_random_weights_stay_where_the_start_is_absent_or_does_not_fit(tmp_path, capsys):
    folder = str(save_classifier(conv2d(), tmp_path / "model"))
    wider = conv2d(width=3)
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    assert not load_start(wider, ["../absent", folder, None])
    line = f"start: random weights; ../absent does not exist; {folder} does not fit: blocks.0.0.weight has shape "
    assert capsys.readouterr().out == f"{line}(2, 1, 4, 4) instead of (3, 1, 4, 4)\n"
    assert all(torch.equal(value, before[name]) for name, value in wider.state_dict().items())
    with pytest.raises(MismatchError, match=r"does not fit: blocks\.0\.0\.weight"):
        load_start(wider, folder)
    assert not load_start(wider, ["../absent", None])
    assert capsys.readouterr().out == "start: random weights; ../absent does not exist\n"
    with pytest.raises(CheckpointError, match="is no model folder"):
        load_start(wider, ["../absent"])
    assert load_start(conv2d(head_width=5), [folder, None])
    assert capsys.readouterr().out == f"start: {folder}\n"
