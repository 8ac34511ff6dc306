"""Audio classifiers of transformers: the same logits as theirs, layers as maps, labels, model folders."""

import json

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import TransformersClassifier, save_classifier
from otoscope.errors import ConfigurationError, DownloadError, RepresentationError
from otoscope.interpreters import PIQInterpreter
from otoscope.loading import load_classifier

transformers = pytest.importorskip("transformers")
LABELS = ["dog", "rain", "clock"]
ID2LABEL = dict(enumerate(LABELS))
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
CONVOLUTIONAL = {**SMALL, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
CONVOLUTIONAL |= {"classifier_proj_size": 8, "id2label": ID2LABEL}
HTSAT = {"patch_embeds_hidden_size": 16, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}
HTSAT |= {"projection_dim": 12, "hidden_size": 128}


def make_ast(**options):
    config = transformers.ASTConfig(**SMALL, max_length=128, num_mel_bins=64, id2label=ID2LABEL, **options)
    return transformers.ASTForAudioClassification(config)


def make_whisper():
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        max_source_positions=100,
        classifier_proj_size=8,
        id2label=ID2LABEL,
    )
    return transformers.WhisperForAudioClassification(config)


def make_clap():
    return transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(**HTSAT))


MODELS = {
    "ast": (make_ast, {}),
    "wav2vec2": (
        lambda: transformers.Wav2Vec2ForSequenceClassification(transformers.Wav2Vec2Config(**CONVOLUTIONAL)),
        {},
    ),
    "hubert": (
        lambda: transformers.HubertForSequenceClassification(transformers.HubertConfig(**CONVOLUTIONAL)),
        {},
    ),
    "wavlm": (lambda: transformers.WavLMForSequenceClassification(transformers.WavLMConfig(**CONVOLUTIONAL)), {}),
    "whisper": (make_whisper, {}),
    "clap": (make_clap, {"labels": LABELS, "class_vectors": torch.eye(3, 12)}),
}


def classifier_of(name, **options):
    make, needed = MODELS[name]
    return TransformersClassifier(make(), **needed, **options)


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


def test_logits_are_those_of_the_model_on_the_waveform(name):
    classifier = classifier_of(name, duration_s=1.0)
    waveform = 0.3 * torch.randn(2, classifier.frontend.sample_rate_hz)
    spectrogram = classifier.frontend(waveform)
    found = classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase).logits
    output = classifier.model(**{classifier.features.input_name: classifier.features(waveform)})
    torch.testing.assert_close(found, getattr(output, "logits", output), rtol=1e-3, atol=1e-3)


def test_a_padded_clip_gets_what_it_gets_alone(name, pad_sounds):
    classifier = classifier_of(name)
    clips, padded, lengths = pad_sounds([12_000, 5000])
    spectrogram = classifier.frontend(padded, lengths)
    together = classifier.predict(spectrogram.log_magnitude, spectrogram.frames, spectrogram.phase)
    own = classifier.frontend(clips[1][None])
    alone = classifier.predict(own.log_magnitude, None, own.phase)
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-5)
    for whole, single in zip(together.representations, alone.representations, strict=True):
        torch.testing.assert_close(whole[1:, ..., : single.shape[-1]], single, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_spectrogram(name):
    classifier = classifier_of(name)
    spectrogram = classifier.frontend(0.3 * torch.randn(1, 8000))
    log_magnitude = spectrogram.log_magnitude.requires_grad_(True)
    classifier.predict(log_magnitude, None, spectrogram.phase).logits[0, 1].backward()
    assert log_magnitude.grad.isfinite().all()
    assert log_magnitude.grad.count_nonzero() > 0


def test_saved_and_loaded_without_a_hub(name, tmp_path):
    classifier = classifier_of(name)
    json.dumps(classifier.config)
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    folder = save_classifier(classifier, tmp_path / "model")
    loaded = load_classifier(folder)
    one, other = (each.predict(spectrogram.log_magnitude, None, spectrogram.phase) for each in (classifier, loaded))
    assert torch.equal(one.logits, other.logits)
    assert loaded.labels == LABELS
    assert loaded.config == classifier.config


def test_the_shortest_clips_are_long_enough(name):
    classifier = classifier_of(name)
    phase = torch.zeros(1, classifier.frontend.bins, 1)
    assert classifier.predict(phase, None, phase).logits.isfinite().all()


def test_tokens_of_ast_lie_where_their_patches_do():
    """The clip fills the first part of the model's time; a late loud burst moves its last columns most."""
    torch.manual_seed(1)
    classifier = TransformersClassifier(make_ast(), representation="audio_spectrogram_transformer.embeddings")
    (channels, rows, columns) = classifier.representation_shapes(86)[0]
    assert (channels, rows) == (16, 5)
    quiet = 0.01 * torch.randn(1, 16_000)
    burst = quiet.clone()
    burst[:, 12_500:15_500] += torch.randn(3000)
    maps = []
    for waveform in (quiet, burst):
        spectrogram = classifier.frontend(waveform)
        maps.append(classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase).representations[0])
    moved = (maps[1] - maps[0]).abs().sum((0, 1, 2))
    assert len(moved) == columns
    centre = float((moved * (torch.arange(columns) + 0.5)).sum() / moved.sum()) / columns
    assert 0.75 < centre < 1.0


def test_the_last_hidden_state_is_read_by_default(name):
    classifier = classifier_of(name)
    if name == "clap":
        assert classifier.representation_names == ()
        with pytest.raises(RepresentationError, match="name one when making the TransformersClassifier"):
            PIQInterpreter(classifier)
        return
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    prediction = classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase)
    assert prediction.representations[0].shape[1] == 16
    mask = PIQInterpreter(classifier, codes=9).eval()(spectrogram.log_magnitude, prediction)
    assert mask.shape == spectrogram.log_magnitude.shape


def test_labels_and_kind_come_from_the_configuration():
    single = TransformersClassifier(make_ast())
    several = TransformersClassifier(make_ast(problem_type="multi_label_classification"))
    assert single.labels == several.labels == LABELS
    phase = torch.zeros(1, 513, 30)
    assert not single.predict(phase, None, phase).multi_label
    prediction = several.predict(torch.rand(1, 513, 30), None, phase)
    torch.testing.assert_close(prediction.probabilities, prediction.logits.sigmoid())
    assert not TransformersClassifier(
        make_ast(problem_type="multi_label_classification"), multi_label=False
    ).multi_label


def test_from_a_folder_with_its_feature_extractor(tmp_path):
    model = make_ast()
    model.save_pretrained(tmp_path / "ast")
    options = {"num_mel_bins": 64, "max_length": 128, "mean": -1.0, "std": 3.0}
    described = {"feature_extractor_type": "ASTFeatureExtractor", **options}
    (tmp_path / "ast" / "preprocessor_config.json").write_text(json.dumps(described))
    classifier = TransformersClassifier(tmp_path / "ast")
    assert (classifier.features.mean, classifier.features.std) == (-1.0, 3.0)
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    same = TransformersClassifier(model, feature_extractor=described)
    one, other = (each.predict(spectrogram.log_magnitude, None, spectrogram.phase) for each in (classifier, same))
    assert torch.equal(one.logits, other.logits)


def test_a_whole_clap_is_its_audio_half_with_words():
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ClapConfig(
        text_config={**text, "vocab_size": 50, "projection_dim": 12}, audio_config=HTSAT, projection_dim=12
    )
    whole = transformers.ClapModel(config).eval()
    tokens = torch.tensor([[0, 5, 6, 2], [0, 7, 8, 2], [0, 9, 3, 2]])
    with torch.no_grad():
        vectors = whole.get_text_features(input_ids=tokens).pooler_output
    classifier = TransformersClassifier(whole, LABELS, class_vectors=vectors, duration_s=1.0)
    waveform = 0.3 * torch.randn(1, 48_000)
    spectrogram = classifier.frontend(waveform)
    found = classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase).logits
    entering = classifier.features(waveform)
    with torch.no_grad():
        output = whole(input_ids=tokens, input_features=entering, is_longer=torch.zeros(1, 1, dtype=torch.bool))
    torch.testing.assert_close(found, output.logits_per_audio, rtol=1e-3, atol=5e-3)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(DownloadError, match=r"model: .*nowhere cannot be opened"):
        TransformersClassifier(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"Linear is no model of transformers; use TorchClassifier"):
        TransformersClassifier(torch.nn.Linear(1, 1))
    with pytest.raises(ConfigurationError, match="CLAP needs labels and one vector for each, got 0 labels"):
        TransformersClassifier(make_clap())
    with pytest.raises(ConfigurationError, match="frontend: it is at 8000 Hz, the model hears 16000 Hz"):
        TransformersClassifier(make_ast(), frontend=Frontend(8000))
    with pytest.raises(ConfigurationError, match=r"no layer 'encoderr'; close ones: encoder"):
        TransformersClassifier(make_whisper(), representation="encoderr")
    with pytest.raises(ConfigurationError, match="no model"):
        TransformersClassifier({"architectures": ["AutoModel"]})
    bert = transformers.BertConfig(**{**SMALL, "vocab_size": 20})
    with pytest.raises(ConfigurationError, match="none is known for models of kind bert"):
        TransformersClassifier(transformers.BertForSequenceClassification(bert))
