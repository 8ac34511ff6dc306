"""SpeechBrain, which writes the files that we open, and model folders in the layout of its recipes."""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

_SPEC = importlib.util.spec_from_file_location(
    "reference_fixtures", Path(__file__).parents[1] / "reference" / "conftest.py"
)
_FIXTURES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_FIXTURES)
reference, theirs, generator = _FIXTURES.reference, _FIXTURES.theirs, _FIXTURES.generator
scramble, waveforms, agree = _FIXTURES.scramble, _FIXTURES.waveforms, _FIXTURES.agree

LABELS = ["dog", "church bells", "it's raining", "siren", "sea"]
FRONTEND = """
sample_rate: 16000
spec_mag_power: 0.5
compute_stft: !new:speechbrain.processing.features.STFT
    n_fft: 1024
    hop_length: 11.6099
    win_length: 23.2199
    sample_rate: !ref <sample_rate>
compute_istft: !new:speechbrain.processing.features.ISTFT
    sample_rate: !ref <sample_rate>
    hop_length: 11.6099
    win_length: 23.2199
"""


@pytest.fixture
def labels() -> list[str]:
    return list(LABELS)


@pytest.fixture
def frontend_text() -> str:
    return FRONTEND


@pytest.fixture(scope="session")
def speechbrain(reference) -> SimpleNamespace:
    """Classes of SpeechBrain that save and open checkpoints."""
    import speechbrain

    # the real package would import every interface, and with them packages that our tests do not need
    package = ModuleType("speechbrain.inference")
    package.__path__ = [str(Path(speechbrain.__file__).parent / "inference")]
    sys.modules.setdefault(package.__name__, package)
    with reference.modules._quiet_import():
        import hyperpyyaml
        from speechbrain.dataio.encoder import CategoricalEncoder
        from speechbrain.inference.interpretability import PIQAudioInterpreter
        from speechbrain.utils.checkpoints import Checkpointer
        from speechbrain.utils.epoch_loop import EpochCounter
        from speechbrain.utils.importutils import LazyModule
    for name in [name for name, module in sys.modules.items() if isinstance(module, LazyModule)]:
        del sys.modules[name]
    return SimpleNamespace(
        CategoricalEncoder=CategoricalEncoder,
        PIQAudioInterpreter=PIQAudioInterpreter,
        Checkpointer=Checkpointer,
        EpochCounter=EpochCounter,
        resolve_references=hyperpyyaml.resolve_references,
    )


@pytest.fixture
def model_folder(tmp_path, speechbrain) -> Callable[..., Path]:
    """Function that writes a model folder as SpeechBrain publishes it: hyperparameters, weights, label encoder."""

    def write(hyperparameters: str, files: Mapping[str, nn.Module], labels=LABELS, name="published") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "hyperparams.yaml").write_text(hyperparameters)
        for file, module in files.items():
            torch.save(module.state_dict(), folder / file)
        save_labels(speechbrain, labels, folder / "label_encoder.txt")
        return folder

    return write


@pytest.fixture
def results_folder(tmp_path, speechbrain) -> Callable[..., Path]:
    """Function that writes the results of a training in the layout of a recipe, with one checkpoint."""

    def write(
        hyperparameters: str,
        trained: Mapping[str, nn.Module],
        collected: Mapping[str, nn.Module],
        meta: Mapping[str, object],
        labels=LABELS,
        name="results/training/1234",
    ) -> Path:
        folder = tmp_path / name
        saved = folder / "save"
        saved.mkdir(parents=True)
        recoverables = "".join(f"        {key}: !ref <{key}>\n" for key in trained)
        keeper = "checkpointer: !new:speechbrain.utils.checkpoints.Checkpointer\n    recoverables:\n"
        resolved = speechbrain.resolve_references(hyperparameters + keeper + recoverables)
        (folder / "hyperparams.yaml").write_text(resolved.read())
        save_labels(speechbrain, labels, saved / "label_encoder.txt")
        for key, module in collected.items():  # the recipes store links to downloaded files instead of copies
            torch.save(module.state_dict(), saved / f"{key}.ckpt")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpointer = speechbrain.Checkpointer(saved, {**trained, "counter": speechbrain.EpochCounter(3)})
            checkpointer.save_checkpoint(meta=dict(meta))
        return folder

    return write


def save_labels(speechbrain, labels, path):
    encoder = speechbrain.CategoricalEncoder()
    encoder.update_from_iterable(labels)
    encoder.save(path)
