"""Where the files of a model of SpeechBrain are: published folders, trainings, checkpoints."""

import pytest
import torch

from otoscope.errors import CheckpointError
from otoscope.speechbrain import find_source

TEXT = """
checkpointer: !new:speechbrain.utils.checkpoints.Checkpointer
    recoverables:
        psi_model: 1
        counter: 2
pretrained: !new:speechbrain.utils.parameter_transfer.Pretrainer
    paths:
        embedding_model: !ref <root>/embedding_modelft.ckpt
        theta: !ref <absent>/theta.ckpt
root: speechbrain/PIQ-ESC50
"""


@pytest.fixture
def results(tmp_path):
    """Function that writes the results of a training, with one checkpoint per validation loss."""

    def write(losses, measure="loss", text=TEXT, name="results/piq/1234"):
        folder = tmp_path / name
        for index, loss in enumerate(losses):
            checkpoint = folder / "save" / f"CKPT+2024-01-{index + 1:02d}+00"
            checkpoint.mkdir(parents=True)
            lines = [
                "end-of-epoch: true",
                f"unixtime: {1700000000.5 + index}",
                "tensor: !!python/object/apply:x.y []",
            ]
            lines += [f"{measure}: {loss}"] if loss is not None else []
            (checkpoint / "CKPT.yaml").write_text("# yamllint disable\n" + "\n".join(lines) + "\n")
            torch.save({"w": torch.ones(1)}, checkpoint / "psi_model.ckpt")
        (folder / "hyperparams.yaml").write_text(text)
        return folder

    return write


def checkpoint_of(path):
    return find_source(path).folders[0].name


def test_checkpoint_with_the_lowest_validation_loss_is_chosen(results):
    folder = results([0.5, 0.2, "1.0e-01", 0.4])
    for path in (folder, folder / "save", folder.parent):
        assert checkpoint_of(path) == "CKPT+2024-01-03+00"
    first = folder / "save" / "CKPT+2024-01-01+00"
    assert checkpoint_of(first) == first.name


def test_newest_checkpoint_is_chosen_among_equals_and_those_without_a_loss(results):
    assert checkpoint_of(results([0.2, 0.2], name="a")) == "CKPT+2024-01-02+00"
    assert checkpoint_of(results([None, None], name="b")) == "CKPT+2024-01-02+00"
    assert checkpoint_of(results([0.7, None], name="c")) == "CKPT+2024-01-01+00"


def test_classifiers_are_chosen_by_their_error(results):
    text = TEXT.replace("psi_model: 1", "embedding_model: 1")
    folder = results([0.4, 0.1, 0.3], measure="error", text=text)
    for checkpoint in (folder / "save").iterdir():
        (checkpoint / "psi_model.ckpt").rename(checkpoint / "embedding_model.ckpt")
    assert checkpoint_of(folder) == "CKPT+2024-01-02+00"


def test_incomplete_checkpoints_are_skipped(results):
    folder = results([0.5, 0.1, 0.3])
    (folder / "save" / "CKPT+2024-01-02+00" / "psi_model.ckpt").unlink()
    (folder / "save" / "CKPT+2024-01-03+00" / "CKPT.yaml").unlink()
    assert checkpoint_of(folder) == "CKPT+2024-01-01+00"
    (folder / "save" / "CKPT+2024-01-01+00" / "psi_model.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"no complete checkpoint .*psi_model\.ckpt"):
        find_source(folder)


def test_folder_of_several_trainings_is_refused(results, tmp_path):
    results([0.1], name="results/piq/1")
    results([0.1], name="results/piq/2")
    with pytest.raises(CheckpointError, match=r"holds 2 trainings \(1, 2\); give one"):
        find_source(tmp_path / "results" / "piq")


def test_other_folders_are_no_source(tmp_path):
    assert find_source(tmp_path) is None
    assert find_source(tmp_path / "absent") is None
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    assert find_source(tmp_path / "below" / "deeper") is None


def test_files_are_located(results, tmp_path):
    folder = results([0.5])
    (folder / "save" / "embedding_model.ckpt").touch()
    source = find_source(folder)
    assert source.file("embedding_model") == folder / "save" / "embedding_model.ckpt"
    (folder / "save" / "embedding_modelft.ckpt").touch()
    assert source.file("embedding_model").name == "embedding_modelft.ckpt", "the name in the file comes first"
    assert source.file("psi_model").parent.name == "CKPT+2024-01-01+00"
    (folder / "save" / "label_encoder.txt").touch()
    assert source.file("label_encoder", "label_encoder.txt").name == "label_encoder.txt"
    with pytest.raises(
        CheckpointError, match=r"classifier\.ckpt is missing; put the file beside hyperparams\.yaml"
    ):
        source.file("classifier")
    with pytest.raises(CheckpointError, match="<absent> is referred to"):
        source.file("theta")
    for path in (folder / "save").glob("embedding_*"):
        path.unlink()
    # the folder may come from anywhere: its address is shown, not fetched
    with pytest.raises(CheckpointError, match=r"according to hyperparams.yaml: speechbrain/PIQ-ESC50/embedding_"):
        source.file("embedding_model")


def test_deeper_folders_do_not_belong_to_a_training(results, tmp_path):
    folder = results([0.5])
    (folder / "save" / "other" / "deep").mkdir(parents=True)
    assert find_source(folder / "save" / "other" / "deep") is None
