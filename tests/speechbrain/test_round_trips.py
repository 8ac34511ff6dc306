"""Random weights saved in the layout of SpeechBrain's recipes, opened here, compared with SpeechBrain's modules.

PIQ on Conv2d, which SpeechBrain has an interface for, is in `test_piq.py`.
"""

import pytest
import torch
from torch import nn

import otoscope
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, FocalNetClassifier, ViTClassifier
from otoscope.interpreters import LMACInterpreter
from otoscope.loading import load_classifier, load_dictionary
from otoscope.methods import DEFAULT_METHOD, METHODS

LABELS = ["dog", "church bells", "it's raining", "siren", "sea"]
MEL = """
use_melspectra_log1p: True
n_mels: 80
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: !ref <n_mels>
    n_fft: 1024
    sample_rate: !ref <sample_rate>
    log_mel: False
"""
COSINES = """
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: {width}
    out_neurons: 5
    lin_blocks: 1
"""
CONV2D = """
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: {width}
"""
CNN14 = """
embedding_model: !new:speechbrain.lobes.models.Cnn14.Cnn14
    mel_bins: !ref <n_mels>
    emb_dim: 2048
    return_reps: True
classifier: !new:torch.nn.Linear
    in_features: 2048
    out_features: 5
"""
PICTURE = """
embedding_model: !apply:transformers.{backbone}.from_pretrained [{origin}]
"""
L2I = """
K: 40
relevance_th: 0.1
classifier_temp: 0.5
psi_model: !new:speechbrain.lobes.models.{psi}
    dim: {width}
    K: !ref <K>
theta: !new:speechbrain.lobes.models.L2I.Theta
    n_comp: !ref <K>
    T: {frames}
    num_classes: 5
nmf_decoder: !new:speechbrain.lobes.models.L2I.NMFDecoderAudio
    n_comp: !ref <K>
    n_freq: 513
"""
WIDTHS = {"conv2d": 8, "cnn14": 2, "focalnet": 8, "vit": 24}
KINDS = {
    "conv2d": Conv2dClassifier,
    "cnn14": Cnn14Classifier,
    "focalnet": FocalNetClassifier,
    "vit": ViTClassifier,
}


@pytest.fixture
def published(reference, scramble, generator):
    """Function that builds a classifier of SpeechBrain with weights that make no output constant."""

    @torch.no_grad()
    def make(name):
        kinds = {
            "conv2d": reference.ReferenceConv2d,
            "cnn14": reference.ReferenceCnn14,
            "focalnet": reference.ReferenceFocalNet,
            "vit": reference.ReferenceViT,
        }
        if name in ("focalnet", "vit"):
            pytest.importorskip("transformers")
        classifier = scramble(kinds[name](len(LABELS), WIDTHS[name])).eval()
        for part in classifier.encoder.modules():
            if isinstance(part, nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5, generator=generator)
        return classifier

    return make


@pytest.fixture
def describe(frontend_text, tmp_path, monkeypatch):
    """Function that returns the hyperparameters of a classifier."""

    def text(name, published):
        width = published.head.weight.shape[-1] if name == "cnn14" else published.head.blocks[0].norm.num_features
        if name == "cnn14":
            return frontend_text + MEL + CNN14
        if name == "conv2d":
            return frontend_text + CONV2D.format(width=width) + COSINES.format(width=width)
        published.encoder.config.save_pretrained(tmp_path / "backbone")
        backbone = {"focalnet": "FocalNetBackbone", "vit": "ViTModel"}[name]
        _answer_for_the_hub(monkeypatch, name, tmp_path / "backbone")
        picture = PICTURE.format(backbone=backbone, origin="owner/backbone")
        return frontend_text + picture + COSINES.format(width=width)

    return text


def _answer_for_the_hub(monkeypatch, name, folder):
    """Let transformers read the configuration of ``owner/backbone`` from a folder."""
    transformers = pytest.importorskip("transformers")
    config_class = {"focalnet": transformers.FocalNetConfig, "vit": transformers.ViTConfig}[name]
    read = config_class.from_pretrained

    def from_pretrained(origin, trust_remote_code):
        assert (origin, trust_remote_code) == ("owner/backbone", False)
        return read(folder)

    monkeypatch.setattr(config_class, "from_pretrained", from_pretrained)


@pytest.fixture
def magnitude_of(theirs):
    """Function that computes the magnitude of waveforms with SpeechBrain, (batch, time, frequency)."""
    stft = theirs.STFT(n_fft=1024, sample_rate=16_000, hop_length=11.6099, win_length=23.2199)
    return lambda waveforms: theirs.spectral_magnitude(stft(waveforms), power=0.5)


@pytest.mark.parametrize("form", ["published", "results"])
@pytest.mark.parametrize("name", WIDTHS)
@torch.no_grad()
def test_classifiers(published, describe, model_folder, results_folder, magnitude_of, waveforms, agree, name, form):
    theirs = published(name)
    text = describe(name, theirs)
    if form == "published":
        folder = model_folder(text, {"embedding_model.ckpt": theirs.encoder, "classifier.ckpt": theirs.head})
    else:
        trained = {"embedding_model": theirs.encoder, "classifier": theirs.head}
        folder = results_folder(text, trained, {}, {"error": 0.2})
    ours = load_classifier(folder)
    assert type(ours) is KINDS[name]
    assert ours.labels == LABELS
    magnitude = magnitude_of(waveforms)
    _, logits = theirs(theirs.network_input(magnitude, magnitude.log1p()))
    prediction = ours.predict(ours.frontend(waveforms))
    agree(prediction.logits, logits)
    agree(prediction.probabilities, logits.softmax(1))
    assert otoscope.load(folder).method == METHODS[DEFAULT_METHOD].title


@torch.no_grad()
def test_vit_with_the_names_of_older_transformers(published, describe, model_folder, waveforms):
    """Published weights have these names, and an unused pooling layer."""
    theirs = published("vit")
    folder = model_folder(
        describe("vit", theirs), {"embedding_model.ckpt": theirs.encoder, "classifier.ckpt": theirs.head}
    )
    log_magnitude = load_classifier(folder).frontend.log_magnitude(waveforms)
    expected = load_classifier(folder)(log_magnitude).logits
    older = {
        "layers.": "encoder.layer.",
        ".attention.q_proj.": ".attention.attention.query.",
        ".attention.k_proj.": ".attention.attention.key.",
        ".attention.v_proj.": ".attention.attention.value.",
        ".attention.o_proj.": ".attention.output.dense.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
    }
    weights = {"pooler.dense.weight": torch.ones(24, 24), "pooler.dense.bias": torch.ones(24)}
    for name, value in theirs.encoder.state_dict().items():
        for new, old in older.items():
            name = name.replace(new, old)
        weights[name] = value
    assert "encoder.layer.11.attention.attention.query.weight" in weights
    torch.save(weights, folder / "embedding_model.ckpt")
    assert torch.equal(load_classifier(folder)(log_magnitude).logits, expected)


@pytest.mark.parametrize("name", ["focalnet", "vit"])
@torch.no_grad()
def test_piq_on_image_networks(reference, scramble, published, describe, results_folder, waveforms, agree, name):
    theirs = reference.ReferencePIQ(len(LABELS), WIDTHS[name], 100, classifier=name)
    theirs.classifier = published(name)
    scramble(theirs.network).eval()
    width = theirs.network.codebook.embedding.embedding_dim
    kind = {"focalnet": "VectorQuantizedPSIFocalNet_Audio", "vit": "VectorQuantizedPSIViT_Audio"}[name]
    psi = f"use_vq: True\nuse_mask_output: True\npsi_model: !new:speechbrain.lobes.models.PIQ.{kind}\n"
    psi += f"    dim: {width}\n    K: 100\n    numclasses: 5\n"
    collected = {"embedding_model": theirs.classifier.encoder, "classifier": theirs.classifier.head}
    text = describe(name, theirs.classifier) + psi
    explainer = otoscope.load(results_folder(text, {"psi_model": theirs.network}, collected, {"loss": 1.0}))
    for waveform in waveforms:
        interpretation = explainer.interpret_batch(waveform[None])
        sound = theirs.interpret(waveform)
        assert sound.shape == (430 * 186,)
        agree(interpretation.evidence[0, : len(sound) - 1024], sound[:-1024])
        _, logits = theirs.classifier(theirs.preprocess(waveform[None])[0])
        assert interpretation.labels == [LABELS[int(logits.argmax())]]


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
@torch.no_grad()
def test_l2i(reference, scramble, generator, published, describe, results_folder, waveforms, agree, name):
    frames = reference.FRAMES[name]
    theirs = reference.ReferenceL2I(name, len(LABELS), WIDTHS[name], 40, frames, relevance_threshold=0.1)
    theirs.classifier = published(name)
    scramble(theirs.network).eval()
    theirs.dictionary.W.uniform_(-0.1, 1, generator=generator)  # a rectifier removes negative entries
    psi, width = {"conv2d": ("L2I.PsiOptimized", 8), "cnn14": ("L2I.CNN14PSI_stft_2d", 64)}[name]
    text = describe(name, theirs.classifier) + L2I.format(psi=psi, width=width, frames=frames)
    collected = {"embedding_model": theirs.classifier.encoder, "classifier": theirs.classifier.head}
    collected["nmf_decoder"] = theirs.dictionary
    folder = results_folder(text, {"theta": theirs.theta, "psi_model": theirs.psi}, collected, {"loss": 1.0})
    explainer = otoscope.load(folder)
    config = explainer.interpreter.config
    assert (config["relevance_threshold"], config["temperature"], config["pooling_frames"]) == (0.1, 0.5, frames)
    spectrogram = explainer.classifier.frontend(waveforms)
    decoded = explainer.interpreter.decode(spectrogram, explainer.classifier.predict(spectrogram))
    agree(decoded.logits.softmax(1), theirs.forward(waveforms).imitation)
    for waveform in waveforms:
        evidence = explainer.interpret_batch(waveform[None]).evidence
        sound = theirs.interpret(waveform)
        samples = (frames - 1) * 186 - 1024  # theirs may be silent after these
        agree(evidence[0, :samples], sound[:samples])
    assert torch.equal(load_dictionary(folder).components, theirs.dictionary.return_W())


@torch.no_grad()
def test_lmac(reference, theirs, scramble, published, describe, results_folder, magnitude_of, waveforms, agree):
    from speechbrain.lobes.models.Cnn14 import CNN14PSI_stft

    classifier = published("cnn14")
    network = scramble(CNN14PSI_stft(dim=64)).eval()
    text = describe("cnn14", classifier) + "reg_w_l1: 0.2\ng_w: 2\nfinetuning: True\n"
    text += "psi_model: !new:speechbrain.lobes.models.Cnn14.CNN14PSI_stft\n    dim: 64\n"
    collected = {"embedding_model": classifier.encoder, "classifier": classifier.head}
    explainer = otoscope.load(results_folder(text, {"psi_model": network}, collected, {"loss": 1.0}))
    assert isinstance(explainer.interpreter, LMACInterpreter)
    assert explainer.interpreter.config["l1"] == pytest.approx(3.2)
    assert explainer.interpreter.config["guidance"] == 2

    stft = theirs.STFT(n_fft=1024, sample_rate=16_000, hop_length=11.6099, win_length=23.2199)
    istft = theirs.ISTFT(sample_rate=16_000, hop_length=11.6099, win_length=23.2199)
    magnitude = magnitude_of(waveforms)
    representations, logits = classifier(classifier.network_input(magnitude, magnitude.log1p()))
    mask = network(representations).squeeze(1).sigmoid()
    frames = mask.shape[1]
    assert mask.shape == (2, 425, 513)  # theirs drops the last six of 431 frames
    phase = theirs.spectral_phase(stft(waveforms))[:, :frames]
    parts = torch.stack([phase.cos(), phase.sin()], -1)
    sounds = istft((mask * magnitude.log1p()[:, :frames]).expm1()[..., None] * parts)
    interpretation = explainer.interpret_batch(waveforms)
    assert interpretation.labels == [LABELS[index] for index in logits.argmax(1)]
    samples = (frames - 1) * 186 - 1024
    agree(interpretation.evidence[:, :samples], sounds[:, :samples])


@torch.no_grad()
def test_opened_model_can_be_saved_and_loaded(published, describe, model_folder, waveforms, tmp_path):
    theirs = published("cnn14")
    folder = model_folder(
        describe("cnn14", theirs), {"embedding_model.ckpt": theirs.encoder, "classifier.ckpt": theirs.head}
    )
    ours = load_classifier(folder)
    loaded = Cnn14Classifier.from_pretrained(ours.save_pretrained(tmp_path / "saved"))
    spectrogram = ours.frontend(waveforms)
    assert torch.equal(loaded.logits(spectrogram), ours.logits(spectrogram))
    assert loaded.details == {"source": f"SpeechBrain: {folder}", "normalize": False}
