"""PIQ models saved by SpeechBrain, opened here, compared with the interface of SpeechBrain."""

import pytest
import soundfile
import torch

import otoscope
from otoscope.errors import CheckpointError

LABELS = ["dog", "church bells", "it's raining", "siren", "sea"]
# samples to compare: our sound continues with further frames, which overlap the last ones of theirs
SAMPLES = 416 * 186 - 1024

HYPERPARAMETERS = """
__set_seed: !!python/object/apply:torch.manual_seed [1234]
use_vq: {use_vq}
use_mask_output: {use_mask_output}
mask_th: {mask_th}
K: {codes}
out_n_neurons: 5
{frontend}
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: 8
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 8
    out_neurons: !ref <out_n_neurons>
    lin_blocks: 1
    lin_neurons: 24
psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    dim: 8
    K: !ref <K>
    shared_keys: {shared}
{classes}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrained_path: {path}
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        psi: !ref <psi_model>
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/embedding_modelft.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        psi: !ref <pretrained_path>/psi_model.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
modules:
    compute_stft: !ref <compute_stft>
    compute_istft: !ref <compute_istft>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
    psi: !ref <psi_model>
"""
VARIANTS = {
    "mask": {"use_vq": True, "use_mask_output": True},
    "softplus": {"use_vq": True, "use_mask_output": False, "mask_th": 0.5},
    "without-vq": {"use_vq": False, "use_mask_output": True},
    "shared-codes": {"use_vq": True, "use_mask_output": True, "shared": 10},
    "own-classes": {"use_vq": True, "use_mask_output": True, "codes": 20, "classes": "    numclasses: 5"},
}


@pytest.fixture
def write(theirs, scramble, model_folder, frontend_text, tmp_path):
    """Function that writes a published PIQ of random weights and returns its folder."""

    def write_piq(use_vq, use_mask_output, mask_th=0.35, codes=120, shared=0, classes="", name="published"):
        numbers = {"numclasses": 5} if classes else {}
        psi = theirs.VectorQuantizedPSI(dim=8, K=codes, shared_keys=shared, **numbers)
        modules = {
            "embedding_modelft.ckpt": theirs.Conv2dEncoder(dim=8),
            "classifier.ckpt": theirs.CosineClassifier(input_size=8, out_neurons=5, lin_blocks=1, lin_neurons=24),
            "psi_model.ckpt": psi,
        }
        options = {"use_vq": use_vq, "use_mask_output": use_mask_output, "mask_th": mask_th, "codes": codes}
        options |= {"shared": shared, "classes": classes, "path": tmp_path / name, "frontend": frontend_text}
        return model_folder(
            HYPERPARAMETERS.format(**options),
            {file: scramble(module) for file, module in modules.items()},
            name=name,
        )

    return write_piq


@pytest.fixture
def interface(speechbrain, reference, tmp_path):
    """Function that opens a folder with the interface of SpeechBrain."""

    def open_folder(folder):
        with reference.modules._quiet_import():
            return speechbrain.PIQAudioInterpreter.from_hparams(folder, savedir=tmp_path / "savedir")

    return open_folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_agrees_with_the_interface(write, interface, waveforms, agree, variant):
    folder = write(**VARIANTS[variant])
    ours, published = otoscope.load(folder), interface(folder)
    for waveform in waveforms[:, None]:
        sound, (labels,) = published.interpret_batch(waveform)
        interpretation = ours.interpret_batch(waveform)
        assert interpretation.labels == labels
        assert interpretation.sample_rate_hz == 16_000
        assert sound.shape == (1, 416 * 186)
        assert interpretation.evidence.shape == waveform.shape
        agree(interpretation.evidence[:, :SAMPLES], sound[:, :SAMPLES])

        log_magnitude, _, _ = published.preprocess(waveform)
        _, _, logits, _ = published.classifier_forward(log_magnitude)
        agree(ours.classifier.probabilities(ours.classifier.frontend(waveform)), logits.softmax(1))


def test_agrees_with_the_interface_on_a_file(write, interface, waveforms, agree, tmp_path):
    folder = write(**VARIANTS["mask"])
    soundfile.write(tmp_path / "clip.wav", waveforms[0].numpy(), 16_000, subtype="FLOAT")
    sound, ((label,),), rate = interface(folder).interpret_file(str(tmp_path / "clip.wav"), tmp_path / "fetched")
    evidence, our_label, our_rate = otoscope.load(folder).interpret_file(tmp_path / "clip.wav")
    assert (our_label, our_rate) == (label, rate)
    agree(evidence[:SAMPLES], sound[0, :SAMPLES])


def test_results_of_a_training(
    theirs, scramble, write, interface, results_folder, model_folder, frontend_text, waveforms, agree, tmp_path
):
    """The recipe saves the interpreter in a checkpoint and the classifier beside it."""
    published = write(**VARIANTS["mask"])
    content = (published / "hyperparams.yaml").read_text().replace("pretrained_path: ", "pretrained_path: absent/")
    modules = {
        "embedding_model": theirs.Conv2dEncoder(dim=8),
        "classifier": theirs.CosineClassifier(input_size=8, out_neurons=5, lin_blocks=1, lin_neurons=24),
        "psi_model": theirs.VectorQuantizedPSI(dim=8, K=120),
    }
    for name, module in modules.items():
        file = {"embedding_model": "embedding_modelft.ckpt"}.get(name, f"{name}.ckpt")
        module.load_state_dict(torch.load(published / file, weights_only=True))
    meta = {"loss": 0.3, "acc": torch.tensor(0.5)}
    trained = {"psi_model": modules.pop("psi_model")}
    folder = results_folder(content, trained, modules, meta)
    (checkpoint,) = (folder / "save").glob("CKPT+*")
    sound, (labels,) = interface(published).interpret_batch(waveforms[:1])
    for path in (folder, folder / "save", checkpoint, folder.parent):
        interpretation = otoscope.load(path).interpret_batch(waveforms[:1])
        assert interpretation.labels == labels
        agree(interpretation.evidence[:, :SAMPLES], sound[:, :SAMPLES])


def test_options_are_read_from_the_file(write):
    explainer = otoscope.load(write(use_vq=True, use_mask_output=False, mask_th=0.5, shared=10))
    interpreter, classifier = explainer.interpreter, explainer.classifier
    assert classifier.labels == LABELS
    assert classifier.config["scale"] == 1
    assert classifier.config["head_width"] == 24
    assert interpreter.config == {
        "use_vq": True,
        "use_mask_output": False,
        "decoder": "published",
        "codes": 120,
        "shared_codes": 10,
        "codebook_init": "uniform",
        "mask_threshold": 0.5,
        "codebook_classes": 50,
        "code_stride": 2,
    }
    assert (interpreter.quantizer.owner == -1).sum() == 10


@pytest.mark.parametrize(
    ("former", "changed", "message"),
    [
        ("n_fft: 1024", "n_fft: 1024\n    center: False", "center False is not supported"),
        ("spec_mag_power: 0.5", "spec_mag_power: 1", "spec_mag_power 1 is not supported"),
        ("lin_blocks: 1", "lin_blocks: 2", "lin_blocks 2 is not supported"),
        ("shared_keys: 0", "shared_keys: 0\n    use_adapter: False", "use_adapter False is not supported"),
        ("PIQ.Conv2dEncoder_v2", "PIQ.Conv2dEncoder_v7", "embedding_model is .*Conv2dEncoder_v7"),
        ("PIQ.VectorQuantizedPSI_Audio", "PIQ.Other", "psi_model is .*PIQ.Other"),
        ("ECAPA_TDNN.Classifier", "Xvector.Classifier2", "head .*Classifier2 is not supported"),
        ("sample_rate: !ref <sample_rate>", "sample_rate: !ref <rate>", "<rate> is referred to"),
    ],
)
def test_unsupported_models_are_refused(write, former, changed, message):
    folder = write(**VARIANTS["mask"])
    path = folder / "hyperparams.yaml"
    assert former in path.read_text()
    path.write_text(path.read_text().replace(former, changed))
    with pytest.raises(CheckpointError, match=message):
        otoscope.load(folder)


@pytest.mark.parametrize(
    ("file", "spoil", "messages"),
    [
        (
            "embedding_modelft.ckpt",
            lambda w: w.pop("bn2.weight"),
            ["embedding_modelft.ckpt: bn2.weight is missing"],
        ),
        ("embedding_modelft.ckpt", lambda w: w.update(extra=torch.ones(2)), ["extra is unknown"]),
        (
            "embedding_modelft.ckpt",
            lambda w: w.update({"resblock.block.3.weight": torch.ones(8, 4, 1, 1)}),
            ["resblock.block.3.weight has shape (8, 4, 1, 1) instead of (8, 8, 1, 1)"],
        ),
        (
            "classifier.ckpt",
            lambda w: w.pop("blocks.1.w.bias"),
            ["classifier.ckpt: blocks.1.w.bias is missing"],
        ),
        ("classifier.ckpt", lambda w: w.update(weight=w["weight"][:4]), ["4 classes", "label encoder 5"]),
        (
            "psi_model.ckpt",
            lambda w: (w.pop("decoder.12.bias"), w.pop("up.weight"), w.update({"decoder.99.bias": torch.ones(1)})),
            ["decoder.12.bias is missing", "up.weight is missing", "decoder.99.bias is unknown"],
        ),
    ],
    ids=["missing", "extra", "misshapen", "missing in head", "classes", "several"],
)
def test_weights_that_do_not_fit_are_reported(write, file, spoil, messages):
    folder = write(**VARIANTS["mask"])
    weights = torch.load(folder / file, weights_only=True)
    spoil(weights)
    torch.save(weights, folder / file)
    with pytest.raises(CheckpointError) as caught:
        otoscope.load(folder)
    assert str(folder) in str(caught.value)
    for message in messages:
        assert message in str(caught.value)


def test_missing_file_is_reported(write):
    folder = write(**VARIANTS["mask"])
    (folder / "psi_model.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"psi_model\.ckpt.* is missing"):
        otoscope.load(folder)
    (folder / "label_encoder.txt").unlink()
    with pytest.raises(CheckpointError, match=r"label_encoder\.txt.* is missing"):
        otoscope.load(folder)
