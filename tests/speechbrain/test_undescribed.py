"""Weights without a hyperparameter file: network, sizes and classes are read off the weights."""

import csv
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import otoscope
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, FocalNetClassifier, ViTClassifier
from otoscope.errors import CheckpointError
from otoscope.interpreters import PIQInterpreter
from otoscope.loading import load_classifier, load_dictionary, load_interpreter, load_model, load_start
from otoscope.nn import NMFDictionary
from otoscope.speechbrain.labels import ESC50_LABELS

LABELS = ["dog", "church bells", "it's raining", "siren", "sea"]
KINDS = {
    "conv2d": Conv2dClassifier,
    "cnn14": Cnn14Classifier,
    "focalnet": FocalNetClassifier,
    "vit": ViTClassifier,
}


@pytest.fixture
def make(reference, theirs, scramble):
    """Function that makes an embedding model and a head of SpeechBrain with random weights."""

    def make_classifier(name, classes):
        if name == "conv2d":
            encoder, width = theirs.Conv2dEncoder(dim=8), 8
        elif name == "cnn14":
            narrow = reference.ReferenceCnn14(classes, 2)
            return scramble(narrow.encoder).eval(), scramble(narrow.head).eval()
        else:
            transformers = pytest.importorskip("transformers")
            if name == "vit":
                width = 128
                options = {"hidden_size": width, "num_hidden_layers": 2, "intermediate_size": 200, "image_size": 64}
                config = transformers.ViTConfig(**options, num_attention_heads=2, patch_size=8)
                encoder = transformers.ViTModel(config)  # with the pooler, which SpeechBrain's files have
            else:
                width = 32
                options = {
                    "embed_dim": 8,
                    "depths": [1, 2, 1],
                    "hidden_sizes": [16, 32, width],
                    "out_features": ["stage3"],
                }
                config = transformers.FocalNetConfig(**options, focal_levels=[2, 1, 3], focal_windows=[3, 3, 5])
                encoder = transformers.FocalNetBackbone(config)
        head = theirs.CosineClassifier(input_size=width, out_neurons=classes, lin_blocks=1, lin_neurons=24)
        return scramble(encoder).eval(), scramble(head).eval()

    return make_classifier


@pytest.fixture
def write(make, tmp_path):
    """Function that writes the weights of a classifier, and returns folder, embedding model and head."""

    def write_weights(name, classes=5, file="embedding_model.ckpt"):
        folder = tmp_path / f"{name}-{classes}"
        folder.mkdir()
        encoder, head = make(name, classes)
        torch.save(encoder.state_dict(), folder / file)
        torch.save(head.state_dict(), folder / "classifier.ckpt")
        return folder, encoder, head

    return write_weights


def write_labels(folder, labels):
    (folder / "label_encoder.txt").write_text("".join(f"{label!r} => {i}\n" for i, label in enumerate(labels)))


@pytest.mark.parametrize("name", ["conv2d", "cnn14", "vit"])
@pytest.mark.parametrize("form", ["folder", "file"])
def test_classifiers_give_the_logits_of_their_networks(name, form, write, theirs, agree, waveforms):
    folder, encoder, head = write(name)
    write_labels(folder, LABELS)
    classifier = load_classifier(folder if form == "folder" else folder / "embedding_model.ckpt")
    assert type(classifier) is KINDS[name]
    assert classifier.labels == LABELS
    stft = theirs.STFT(n_fft=1024, sample_rate=16_000, hop_length=11.6099, win_length=23.2199)
    magnitude = theirs.spectral_magnitude(stft(waveforms), power=0.5)
    with torch.no_grad():
        expected = head(embedding_of(name, encoder, theirs, magnitude)).squeeze(1)
    agree(classifier.logits(classifier.frontend(waveforms)), expected)


def embedding_of(name, encoder, theirs, magnitude):
    """Return the embedding that SpeechBrain's recipes compute of a magnitude (batch, time, frequency)."""
    if name == "conv2d":
        return encoder(magnitude.log1p()).mean((-1, -2))
    if name == "cnn14":
        mel = theirs.Filterbank(n_mels=80, n_fft=1024, sample_rate=16_000, log_mel=False)
        return encoder(mel(magnitude).log1p())[0]
    picture = nn.functional.interpolate(
        magnitude.log1p()[:, None], (64, 64), mode="bilinear", align_corners=False, antialias=True
    )
    return encoder(picture.expand(-1, 3, -1, -1)).last_hidden_state.mean(1)


def test_the_sizes_of_a_focalnet_are_read_off_its_weights(make, tmp_path):
    from otoscope.speechbrain.networks import focalnet_options, recognise

    encoder, _ = make("focalnet", 5)
    weights = encoder.state_dict()
    assert recognise(weights) == "FocalNetBackbone"
    options = focalnet_options(weights)
    stated = encoder.config.to_dict()
    assert {name: stated[name] for name in options} == options


def test_a_published_focalnet_opens(reference, scramble, tmp_path):
    pytest.importorskip("transformers")
    theirs = scramble(reference.ReferenceFocalNet(5, 8)).eval()
    torch.save(theirs.encoder.state_dict(), tmp_path / "embedding_model.ckpt")
    torch.save(theirs.head.state_dict(), tmp_path / "classifier.ckpt")
    classifier = load_classifier(tmp_path)
    assert isinstance(classifier, FocalNetClassifier)
    assert classifier.image_size == (224, 224)
    for name, value in theirs.encoder.state_dict().items():
        assert torch.equal(classifier.backbone.state_dict()[name], value)


def test_labels_are_those_of_esc50_for_fifty_classes_and_else_numbered(write, tmp_path):
    folder, _, _ = write("conv2d", classes=50)
    classifier = load_classifier(folder)
    assert classifier.labels == ESC50_LABELS
    assert "ESC-50" in classifier.details["remarks"][0]
    assert load_classifier(write("conv2d", classes=2)[0]).labels == ["class 0", "class 1"]


def test_labels_of_esc50_are_in_the_order_of_its_clips():
    """SpeechBrain numbers labels in the order in which it meets them; ESC-10 is a part of ESC-50, in its order."""
    assert len(set(ESC50_LABELS)) == 50
    if not (root := os.environ.get("OTOSCOPE_ESC10")):
        pytest.skip("OTOSCOPE_ESC10 is not set")
    with (Path(root) / "meta" / "esc50.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["filename"])
    met = dict.fromkeys(row["category"] for row in rows)
    assert list(met) == [label for label in ESC50_LABELS if label in met]


def test_the_head_belongs_to_the_fine_tuned_weights(write, make):
    folder, encoder, _ = write("conv2d", file="embedding_modelft.ckpt")
    torch.save(make("conv2d", 5)[0].state_dict(), folder / "embedding_model.ckpt")
    first = load_classifier(folder).state_dict()["blocks.0.0.weight"]
    assert torch.equal(first, encoder.state_dict()["conv1.weight"])
    named = load_classifier(folder / "embedding_model.ckpt").state_dict()["blocks.0.0.weight"]
    assert not torch.equal(named, first), "a file that is named comes first"


def test_a_head_opens_the_classifier_beside_it(write):
    folder, _, _ = write("cnn14")
    assert isinstance(load_classifier(folder / "classifier.ckpt"), Cnn14Classifier)


def test_dictionaries(theirs, tmp_path):
    decoder = theirs.NMFDecoder(n_comp=7, n_freq=513)
    torch.save(decoder.state_dict(), tmp_path / "nmf_decoder.ckpt")
    for source in (tmp_path, tmp_path / "nmf_decoder.ckpt"):
        dictionary = load_dictionary(source)
        assert torch.equal(dictionary.components, decoder.W.detach().relu())
        assert isinstance(load_model(source), NMFDictionary)


def test_piq(write, theirs, scramble):
    folder, _, _ = write("conv2d", classes=50)
    torch.save(scramble(theirs.VectorQuantizedPSI(dim=8, K=120)).state_dict(), folder / "psi_model.ckpt")
    described = folder.parent / "described"
    described.mkdir()
    for path in folder.iterdir():
        (described / path.name).write_bytes(path.read_bytes())
    (described / "hyperparams.yaml").write_text("""
        embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
        psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    """)
    (described / "embedding_model.ckpt").replace(described / "embedding_modelft.ckpt")
    clip = torch.randn(16_000)
    masks = [otoscope.load(source).explain(clip, scores=False).mask for source in (folder, described)]
    assert torch.equal(*masks)
    interpreter, classifier = load_interpreter(folder / "psi_model.ckpt")
    assert isinstance(interpreter, PIQInterpreter)
    assert classifier.labels == ESC50_LABELS


def test_what_cannot_be_told_from_weights_is_refused(write, theirs, tmp_path):
    folder, _, _ = write("conv2d")
    torch.save(theirs.PsiOptimized(dim=8, K=10).state_dict(), folder / "psi_model.ckpt")
    with pytest.raises(CheckpointError, match=r"only PIQ's network can be opened without hyperparams\.yaml"):
        load_interpreter(folder)
    torch.save({"conv.weight": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other\.ckpt: holds no network that is known \(conv\.weight"):
        load_classifier(tmp_path / "other.ckpt")
    (folder / "classifier.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"classifier\.ckpt is missing; put the file into the same folder"):
        load_classifier(folder)


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
def test_a_training_starts_from_a_published_embedding_model(name, write, capsys):
    folder, encoder, _ = write(name)
    width = {"width": 8, "head_width": 24} if name == "conv2d" else {"width": 2}
    classifier = KINDS[name](["dog", "rain"], **width)
    head = {key: value.clone() for key, value in classifier.state_dict().items() if key.startswith("head.")}
    load_start(classifier, str(folder / "embedding_model.ckpt"))
    assert capsys.readouterr().out == f"start: {folder / 'embedding_model.ckpt'}\n"
    state = classifier.state_dict()
    assert all(torch.equal(state[key], value) for key, value in head.items())
    ours, theirs = ("blocks.0.0.weight", "conv1.weight") if name == "conv2d" else ("norm.weight", "norm0.weight")
    assert torch.equal(state[ours], encoder.state_dict()[theirs])
    with pytest.raises(CheckpointError, match="which is no part of"):
        load_start(KINDS["cnn14" if name == "conv2d" else "conv2d"](["dog"]), str(folder))
