"""Pipelines of transformers as classifiers: the pipeline's scores, precision, labels, tasks, entry points."""

import numpy as np
import pytest
import torch
from torch import nn

import otoscope
import otoscope.training
from otoscope.classifiers import TorchClassifier, TransformersClassifier, from_pipeline, save_classifier
from otoscope.errors import ConfigurationError
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.loading import load_classifier
from otoscope.methods import DEFAULT_METHOD, METHODS

transformers = pytest.importorskip("transformers")
LABELS = ["dog", "rain", "clock"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL |= {"id2label": dict(enumerate(LABELS))}


def make_ast(**options):
    config = transformers.ASTConfig(**{**SMALL, **options}, max_length=128, num_mel_bins=64)
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=64, max_length=128, mean=-3.0, std=5.0)
    return transformers.ASTForAudioClassification(config), extractor


def make_wav2vec2(**options):
    config = transformers.Wav2Vec2Config(
        **{**SMALL, **options}, conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2
    )
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000)
    return transformers.Wav2Vec2ForSequenceClassification(config), extractor


def make_pipe(make=make_ast, dtype=None, **options):
    model, extractor = make()
    # random weights give nearly the same logits to every clip
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.data *= 5
    model = model.eval() if dtype is None else model.eval().to(dtype)
    return transformers.pipeline("audio-classification", model, feature_extractor=extractor, top_k=3, **options)


def scores_of(pipe, waveform):
    by_label = {row["label"]: row["score"] for row in pipe(waveform.numpy())}
    return [by_label[label] for label in LABELS]


@pytest.mark.parametrize("make", [make_ast, make_wav2vec2])
def test_classifier_has_the_scores_of_the_pipeline(make):
    pipe = make_pipe(make)
    rate = pipe.feature_extractor.sampling_rate
    waveform = 0.3 * torch.randn(rate)
    expected = scores_of(pipe, waveform)
    classifier = from_pipeline(pipe, duration_s=1.0)
    assert (classifier.labels, classifier.frontend.sample_rate_hz) == (LABELS, rate)
    probabilities = classifier.predict(classifier.frontend(waveform[None])).probabilities[0]
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)
    assert np.ptp(expected) > 0.05


def test_one_or_several_labels_are_those_of_the_pipeline():
    waveform = 0.3 * torch.randn(16_000)
    pipe = make_pipe(function_to_apply="sigmoid")
    classifier = from_pipeline(pipe, duration_s=1.0)
    assert classifier.multi_label
    probabilities = classifier.predict(classifier.frontend(waveform[None])).probabilities[0]
    np.testing.assert_allclose(probabilities, scores_of(pipe, waveform), atol=1e-3)
    assert from_pipeline(make_pipe(lambda: make_ast(problem_type="multi_label_classification"))).multi_label
    with pytest.raises(ConfigurationError, match="its scores are no probabilities"):
        from_pipeline(make_pipe(function_to_apply="none"))


@pytest.mark.parametrize("make", [make_ast, make_wav2vec2])
@pytest.mark.parametrize("bias", [-2.0, 2.0])
def test_a_single_label_is_decided_against_its_absence(make, bias, tmp_path):
    model, extractor = make(**{"id2label": {0: "siren"}, "num_labels": 1})
    head = model.classifier.dense if make is make_ast else model.classifier
    head.bias.data.fill_(bias)
    options = {"feature_extractor": extractor, "function_to_apply": "sigmoid"}
    pipe = transformers.pipeline("audio-classification", model.eval(), **options)
    rate = extractor.sampling_rate
    waveform = 0.3 * torch.randn(rate)
    (row,) = pipe(waveform.numpy())
    classifier = from_pipeline(pipe, duration_s=1.0)
    explainer = Explainer(classifier, make_untrained("saliency", classifier, area=0.2))
    explanation = explainer.explain(waveform)
    assert classifier.labels == ["siren", "not siren"]
    assert explanation.probabilities["siren"] == pytest.approx(row["score"], abs=1e-3)
    assert explanation.label == ("siren" if bias > 0 else "not siren")
    assert explanation.scores["Fid-In"] in (0.0, 1.0)
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"))
    spectrogram = classifier.frontend(waveform[None])
    torch.testing.assert_close(loaded.logits(spectrogram), classifier.logits(spectrogram))


@pytest.mark.parametrize("make", [make_ast, make_wav2vec2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_precision_is_preserved_and_explained(make, dtype, tmp_path):
    pipe = make_pipe(make, dtype)
    assert pipe.model.dtype == dtype
    waveform = 0.3 * torch.randn(pipe.feature_extractor.sampling_rate)
    classifier = from_pipeline(pipe, duration_s=1.0)
    spectrogram = classifier.frontend(waveform[None])
    prediction = classifier.predict(spectrogram)
    assert pipe.model.dtype == dtype
    assert prediction.logits.dtype == prediction.representations[0].dtype == torch.float32
    np.testing.assert_allclose(prediction.probabilities[0], scores_of(pipe, waveform), atol=0.03)
    explanation = Explainer(classifier, make_untrained("saliency", classifier)).explain(waveform, scores=False)
    assert 0 < explanation.mask.mean() < 1
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"))
    assert loaded.model.dtype == dtype
    assert torch.equal(loaded.logits(spectrogram), prediction.logits)


def test_weights_of_few_bits_are_refused():
    pipe = make_pipe()
    pipe.model.classifier.dense.weight = nn.Parameter(torch.zeros(3, 16, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigurationError, match="its weights are float32, uint8; models in float32, bfloat16"):
        from_pipeline(pipe)


class Tokenizer:
    """Stand-in for a tokenizer, which needs a vocabulary: letters as numbers."""

    def __call__(self, texts, padding=True, return_tensors="pt"):
        longest = max(map(len, texts))
        rows = [[2 + ord(letter) % 50 for letter in text] for text in texts]
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows])
        return transformers.BatchEncoding({"input_ids": ids, "attention_mask": mask})


@pytest.fixture(scope="module")
def zero_shot():
    """Zero-shot pipeline of a small CLAP."""
    audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}
    audio |= {"hidden_size": 128}
    text = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "max_position_embeddings": 80, "pad_token_id": 1}
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=12)
    pipe = transformers.ZeroShotAudioClassificationPipeline(
        model=transformers.ClapModel(config).eval(),
        tokenizer=None,
        feature_extractor=transformers.ClapFeatureExtractor(truncation="rand_trunc"),
        task="zero-shot-audio-classification",
    )
    pipe.tokenizer = Tokenizer()
    return pipe


@pytest.mark.parametrize("options", [{}, {"prompt": "{}!"}])
def test_zero_shot_pipeline_with_candidate_labels(zero_shot, options):
    classifier = from_pipeline(zero_shot, labels=LABELS, **options)
    waveform = 0.3 * torch.randn(1, 20_000)
    template = {"hypothesis_template": options["prompt"]} if options else {}
    sound = classifier._network_input(classifier.frontend(waveform))[0].numpy()
    rows = zero_shot(sound, candidate_labels=LABELS, **template)
    expected = {row["label"]: row["score"] for row in rows}
    prediction = classifier.predict(classifier.frontend(waveform))
    np.testing.assert_allclose(prediction.probabilities[0], [expected[label] for label in LABELS], atol=1e-3)
    assert np.ptp(list(expected.values())) > 0.01


def test_zero_shot_pipeline_needs_labels(zero_shot):
    with pytest.raises(ConfigurationError, match=r"needs candidate labels: from_pipeline\(pipe, labels="):
        from_pipeline(zero_shot)


def test_other_tasks_and_objects_are_refused():
    pipe = make_pipe()
    pipe.task = "automatic-speech-recognition"
    with pytest.raises(
        ConfigurationError, match="its task is automatic-speech-recognition, which does not classify"
    ):
        from_pipeline(pipe)
    for value in ("hub/name", nn.Linear(2, 2), None):
        with pytest.raises(ConfigurationError, match="pipe: expected a pipeline of transformers, got"):
            from_pipeline(value)


def test_labels_and_representation_can_be_replaced():
    classifier = from_pipeline(make_pipe(), labels=["a", "b", "c"], representation=None)
    assert classifier.labels == ["a", "b", "c"]
    assert classifier.representation_names == ()


def test_a_pipeline_is_accepted_as_a_classifier(tmp_path):
    pipe, waveform = make_pipe(), 0.3 * torch.randn(16_000)
    classifier = from_pipeline(pipe)
    expected = Explainer(classifier, make_untrained("saliency", classifier)).explain(waveform, scores=False)
    for explainer in (
        Explainer(pipe, make_untrained("saliency", pipe)),
        otoscope.load(pipe, "saliency"),
        otoscope.load(classifier, "saliency"),
    ):
        explanation = explainer.explain(waveform, scores=False)
        assert explanation.probabilities == expected.probabilities
        assert torch.equal(explanation.mask, expected.mask)
    assert otoscope.load(pipe).method == METHODS[DEFAULT_METHOD].title
    black_box = otoscope.CallableClassifier(lambda waveforms: [[1.0]] * len(waveforms), ["any"])
    assert otoscope.load(black_box).method == "segment regression"
    spectrogram = classifier.frontend(waveform[None])
    loaded = load_classifier(save_classifier(pipe, tmp_path / "model"))
    torch.testing.assert_close(loaded.logits(spectrogram), classifier.logits(spectrogram))


def test_a_pipeline_is_evaluated(tmp_path, monkeypatch):
    def build(methods, classifier):
        assert isinstance(classifier, TransformersClassifier)
        raise EvaluationStoppedError

    monkeypatch.setattr("otoscope.evaluation.run.build_methods", build)
    monkeypatch.setattr("otoscope.evaluation.run._check", lambda classifier, data: None)
    with pytest.raises(EvaluationStoppedError):
        otoscope.run_evaluation(make_pipe(), {}, _Data(), tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        lambda pipe: load_classifier(pipe),
        lambda pipe: otoscope.training.PIQ(pipe),
        lambda pipe: TransformersClassifier(pipe),
        lambda pipe: TorchClassifier(pipe, LABELS),
    ],
)
def test_entry_points_for_files_and_modules_name_the_function(entry):
    with pytest.raises(ConfigurationError, match=r"otoscope\.from_pipeline\(pipe\)"):
        entry(make_pipe())


def test_other_objects_are_no_classifiers_either():
    for value, advice in (
        ("folder", "load_classifier"),
        (nn.Linear(2, 2), "TorchClassifier"),
        (len, "CallableClassifier"),
    ):
        with pytest.raises(ConfigurationError, match=f"expected a classifier, got .*{advice}"):
            Explainer(value, None)


class EvaluationStoppedError(Exception):
    """The evaluation has taken the classifier, which is all that is tested."""


class _Data:
    def take_rate(self, model_rate_hz):
        """Any rate will do."""

    def take_clip_length(self, clip_s):
        """Any length will do."""

    def prepare_data(self):
        """Nothing to prepare."""

    def setup(self, stage):
        """Nothing to set up."""
