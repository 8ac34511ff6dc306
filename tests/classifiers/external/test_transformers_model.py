"""Audio classifiers of transformers: agreement with the original, layers as maps, labels, model folders."""

import json

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
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
    logits = classifier.logits(classifier.frontend(waveform))
    output = classifier.model(**{classifier.features.input_name: classifier.features(waveform)})
    torch.testing.assert_close(logits, getattr(output, "logits", output), rtol=1e-3, atol=1e-3)


def test_padded_clip_gets_the_same_result_as_alone(name, pad_sounds):
    classifier = classifier_of(name)
    clips, padded, lengths = pad_sounds([12_000, 5000])
    together = classifier.predict(classifier.frontend(padded, lengths))
    alone = classifier.predict(classifier.frontend(clips[1][None]))
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-5)
    for whole, single in zip(together.representations, alone.representations, strict=True):
        torch.testing.assert_close(whole[1:, ..., : single.shape[-1]], single, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_spectrogram(name):
    classifier = classifier_of(name)
    spectrogram = classifier.frontend(0.3 * torch.randn(1, 8000))
    log_magnitude = spectrogram.log_magnitude.requires_grad_(True)
    classifier.logits(spectrogram)[0, 1].backward()
    assert log_magnitude.grad.isfinite().all()
    assert log_magnitude.grad.count_nonzero() > 0


def test_saved_and_loaded_without_a_hub(name, tmp_path):
    classifier = classifier_of(name)
    json.dumps(classifier.config)
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    folder = save_classifier(classifier, tmp_path / "model")
    loaded = load_classifier(folder)
    assert torch.equal(loaded.logits(spectrogram), classifier.logits(spectrogram))
    assert loaded.labels == LABELS
    assert loaded.config == classifier.config


def test_runs_in_bfloat16(name):
    classifier = classifier_of(name)
    spectrogram = classifier.frontend(0.3 * torch.randn(1, 8000))
    exact = classifier.logits(spectrogram)
    with classifier.in_precision("bfloat16"):
        rounded = classifier.logits(spectrogram)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() < 0.1 * exact.norm()


def test_clip_of_a_single_frame_is_classified(name):
    classifier = classifier_of(name)
    assert classifier.logits(classifier.frontend.silence(1)).isfinite().all()


def test_late_sound_changes_the_last_columns_of_ast():
    """The clip fills the first part of the model's input; a late loud burst changes the clip's last columns."""
    torch.manual_seed(1)
    classifier = TransformersClassifier(make_ast(), representation="audio_spectrogram_transformer.embeddings")
    (channels, rows, columns) = classifier.representation_shapes(86)[0]
    assert (channels, rows) == (16, 5)
    quiet = 0.01 * torch.randn(1, 16_000)
    burst = quiet.clone()
    burst[:, 12_500:15_500] += torch.randn(3000)
    maps = []
    for waveform in (quiet, burst):
        maps.append(classifier.predict(classifier.frontend(waveform)).representations[0])
    change = (maps[1] - maps[0]).abs().sum((0, 1, 2))
    assert len(change) == columns
    centre = float((change * (torch.arange(columns) + 0.5)).sum() / change.sum()) / columns
    assert 0.75 < centre < 1.0


def test_last_hidden_state_is_the_default_representation(name):
    classifier = classifier_of(name)
    if name == "clap":
        assert classifier.representation_names == ()
        with pytest.raises(RepresentationError, match="name one when creating the TransformersClassifier"):
            PIQInterpreter(classifier)
        return
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    prediction = classifier.predict(spectrogram)
    assert prediction.representations[0].shape[1] == 16
    mask = PIQInterpreter(classifier, codes=9).eval()(spectrogram, prediction)
    assert mask.shape == spectrogram.log_magnitude.shape


def test_labels_and_problem_type_are_read_from_the_configuration():
    single = TransformersClassifier(make_ast())
    several = TransformersClassifier(make_ast(problem_type="multi_label_classification"))
    assert single.labels == several.labels == LABELS
    assert not single.predict(single.frontend.silence(30)).multi_label
    prediction = several.predict(Spectrogram(torch.rand(1, 513, 30), torch.zeros(1, 513, 30)))
    torch.testing.assert_close(prediction.probabilities, prediction.logits.sigmoid())
    assert not TransformersClassifier(
        make_ast(problem_type="multi_label_classification"), multi_label=False
    ).multi_label


def test_from_a_folder_with_its_feature_extractor(tmp_path):
    model = make_ast()
    model.save_pretrained(tmp_path / "ast")
    options = {"num_mel_bins": 64, "max_length": 128, "mean": -1.0, "std": 3.0}
    description = {"feature_extractor_type": "ASTFeatureExtractor", **options}
    (tmp_path / "ast" / "preprocessor_config.json").write_text(json.dumps(description))
    classifier = TransformersClassifier(tmp_path / "ast")
    assert (classifier.features.mean, classifier.features.std) == (-1.0, 3.0)
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    same = TransformersClassifier(model, feature_extractor=description)
    assert torch.equal(classifier.logits(spectrogram), same.logits(spectrogram))


def test_clap_with_class_vectors_agrees_with_clap_on_texts():
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ClapConfig(
        text_config={**text, "vocab_size": 50, "projection_dim": 12}, audio_config=HTSAT, projection_dim=12
    )
    clap = transformers.ClapModel(config).eval()
    tokens = torch.tensor([[0, 5, 6, 2], [0, 7, 8, 2], [0, 9, 3, 2]])
    with torch.no_grad():
        vectors = clap.get_text_features(input_ids=tokens).pooler_output
    classifier = TransformersClassifier(clap, LABELS, class_vectors=vectors, duration_s=1.0)
    waveform = 0.3 * torch.randn(1, 48_000)
    logits = classifier.logits(classifier.frontend(waveform))
    features = classifier.features(waveform)
    with torch.no_grad():
        output = clap(input_ids=tokens, input_features=features, is_longer=torch.zeros(1, 1, dtype=torch.bool))
    torch.testing.assert_close(logits, output.logits_per_audio, rtol=1e-3, atol=5e-3)


def test_invalid_models_and_options_are_reported(tmp_path):
    with pytest.raises(DownloadError, match=r"model: .*nowhere cannot be opened"):
        TransformersClassifier(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"Linear is no model of transformers; use TorchClassifier"):
        TransformersClassifier(torch.nn.Linear(1, 1))
    with pytest.raises(ConfigurationError, match="CLAP needs labels and one vector for each, got 0 labels"):
        TransformersClassifier(make_clap())
    with pytest.raises(ConfigurationError, match="frontend: it is at 8000 Hz, the model expects 16000 Hz"):
        TransformersClassifier(make_ast(), frontend=Frontend(8000))
    with pytest.raises(ConfigurationError, match=r"no layer 'encoderr'; similar names: encoder"):
        TransformersClassifier(make_whisper(), representation="encoderr")
    with pytest.raises(ConfigurationError, match="no model"):
        TransformersClassifier({"architectures": ["AutoModel"]})
    bert = transformers.BertConfig(**{**SMALL, "vocab_size": 20})
    with pytest.raises(ConfigurationError, match="none is known for models of kind bert"):
        TransformersClassifier(transformers.BertForSequenceClassification(bert))


@pytest.mark.parametrize("name", ["ast", "whisper", "clap"])
def test_sound_beyond_the_features_is_not_heard(name):
    classifier = classifier_of(name)
    rate = classifier.frontend.sample_rate_hz
    heard = classifier.heard_samples(60 * rate)
    assert heard < 60 * rate
    assert classifier.heard_samples(heard - 1) == heard - 1
    sound = 0.3 * torch.randn(1, heard + 4096)
    beyond, within = sound.clone(), sound.clone()
    beyond[:, heard:] = 0
    within[:, heard - 200 :] *= 8
    features = classifier.features
    torch.testing.assert_close(features(sound), features(beyond), rtol=0, atol=1e-5)
    assert (features(sound) - features(within)).abs().max() > 0.01


def test_wav2vec2_hears_everything():
    assert classifier_of("wav2vec2").heard_samples(10**7) == 10**7
    assert classifier_of("wav2vec2", duration_s=1.0).heard_samples(10**7) == 16_000
