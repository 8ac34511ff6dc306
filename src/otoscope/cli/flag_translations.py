"""What flags of SpeechBrain's recipes mean in our options, where that depends on other flags or on the model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from otoscope.cli.options import DEFAULT_SEED, values_of
from otoscope.errors import OtoscopeError, choices

_PUBLISHED_GUIDANCE = "4.0"
_DEBUG_BATCHES = 2
_FINETUNE = "_finetune"


class Given(NamedTuple):
    """Command line that a flag is part of.

    Attributes:
        model: Name of the training class, without its module; empty if it is not known.
        flags: Value by flag, for all flags of the table that are given.
        arguments: The command line after the hyperparameter file.
        file: The hyperparameter file; empty if there is none.
    """

    model: str
    flags: Mapping[str, str]
    arguments: Sequence[str] = ()
    file: str = ""

    def value(self, option: str, default: str = "") -> str:
        """Return the last value of an option, with its dashes."""
        return next(reversed(values_of(option, self.arguments)), default)

    @property
    def names_output(self) -> bool:
        """Whether the command line names the output folder."""
        return any(self.value(option) for option in ("--output_folder", "--out", "-o"))


def truth(name: str, value: str) -> bool:
    """Return a truth value as YAML reads it."""
    truth = yaml.safe_load(value)
    if not isinstance(truth, bool):
        raise OtoscopeError(f"--{name}: expected True or False, got {value!r}")
    return truth


def save_interpretations(value: str, given: Given) -> list[str]:
    return [] if value == "true" else ["--interpretations.clips=0"]


def finetuning(value: str, given: Given) -> list[str]:
    if given.model != "LMAC":
        raise OtoscopeError(f"--finetuning: only L-MAC is fine-tuned (train_lmac.py), not {given.model or 'this'}")
    if value == "false":
        return ["--model.guidance=0.0"]
    guidance = f"--model.guidance={given.flags.get('g_w', _PUBLISHED_GUIDANCE)}"
    name = Path(given.file).stem
    if given.names_output or not name or name.endswith(_FINETUNE):
        return [guidance]
    # The folder named after the file holds the run that is fine-tuned.
    results, seed = given.value("--results_folder", "results"), given.value("--seed", str(DEFAULT_SEED))
    return [guidance, f"--output_folder={Path(results) / (name + _FINETUNE) / seed}"]


def guidance_weight(value: str, given: Given) -> list[str]:
    if given.model != "LMAC":
        raise OtoscopeError(f"--g_w: only L-MAC has a guidance weight (train_lmac.py), not {given.model or 'this'}")
    # with --finetuning, that flag decides whether the weight counts
    return [] if "finetuning" in given.flags else [f"--model.guidance={value}"]


def use_pretrained(value: str, given: Given) -> list[str]:
    if given.model == "ClassifierTraining":
        raise OtoscopeError(
            "--use_pretrained: --model.start FILE (Conv2d, CNN14) or --model.classifier.weights NAME (FocalNet, "
            "ViT) names the weights to start from; null stands for random ones"
        )
    if value == "true":
        return []
    raise OtoscopeError(
        "--use_pretrained: an interpreter always explains a trained classifier; name yours with "
        "--model.classifier DIR"
    )


def debug_training(value: str, given: Given) -> list[str]:
    if value == "false":
        return []
    limits = [f"--trainer.limit_{stage}_batches={_DEBUG_BATCHES}" for stage in ("train", "val", "test")]
    return [f"--trainer.max_epochs={_DEBUG_BATCHES}", *limits, *_debug_folder(given)]


def debug_evaluation(value: str, given: Given) -> list[str]:
    if value == "false":
        return []
    return [f"--clips={_DEBUG_BATCHES}", "--sanity_clips=1", "--check_clips=1", *_debug_folder(given)]


def _debug_folder(given: Given) -> list[str]:
    """Return the option of a temporary folder, so that a trial is never taken for a run and resumed."""
    if given.names_output:
        return []
    return [f"--output_folder={tempfile.mkdtemp(prefix='otoscope-debug-')}"]


def device(value: str, given: Given) -> list[str]:
    kind, _, number = value.partition(":")
    accelerator = {"cuda": "gpu"}.get(kind, kind)
    devices = f"[{number}]" if number else "1"
    return [f"--trainer.accelerator={accelerator}", f"--trainer.devices={devices}"]


def noise_in_training(value: str, given: Given) -> list[str]:
    if value == "true" and "wham_folder" not in given.flags:
        raise OtoscopeError("--add_wham_noise: give the folder of the noise too: --wham_folder DIR")
    return []


def noise_folder_in_training(value: str, given: Given) -> list[str]:
    if not truth("add_wham_noise", given.flags.get("add_wham_noise", "true")):
        return []
    if given.model != "LMAC":
        raise OtoscopeError(
            f"--wham_folder: only L-MAC is trained with noise (train_lmac.py), not {given.model or 'this'}"
        )
    return [f"--model.noise_folder={value}"]


def start(value: str, given: Given) -> list[str]:
    if given.model != "LMAC":
        raise OtoscopeError(
            "--pretrained_interpreter: only L-MAC starts from an earlier run (train_lmac.py); to evaluate an "
            "interpreter, give this option to eval.py"
        )
    from otoscope.store.folder import model_folder_of  # loads PyTorch, which --help does not need

    return [f"--model.start={model_folder_of(value)}"]


_CONTAMINATIONS = {
    "mixture": ["--conditions.mixture=true"],
    "mixtures": ["--conditions.mixture=true"],
    "white_noise": ["--conditions.white_noise=true"],
    "LJSpeech": [],
}
_NO_CONDITION = [
    "--conditions.clean=false",
    "--conditions.mixture=false",
    "--conditions.white_noise=false",
    "--conditions.wham=null",
]


def overlap_type(value: str, given: Given) -> list[str]:
    if value not in _CONTAMINATIONS:
        raise OtoscopeError(f"--overlap_type: there is no {value!r}; {choices(value, _CONTAMINATIONS)}")
    if _adds_noise(given):
        return []
    if value != "LJSpeech":
        return [*_NO_CONDITION, "--conditions.speech=null", *_CONTAMINATIONS[value]]
    if "ljspeech_path" not in given.flags:
        raise OtoscopeError("--overlap_type LJSpeech: give the folder of the speech too: --ljspeech_path DIR")
    return list(_NO_CONDITION)


def speech_folder(value: str, given: Given) -> list[str]:
    if given.flags.get("overlap_type", "LJSpeech") != "LJSpeech" or _adds_noise(given):
        return []
    # the reference downloads the speech if it is absent
    return [f"--conditions.speech.folder={value}", "--conditions.speech.fetch=true"]


def _adds_noise(given: Given) -> bool:
    return truth("add_wham_noise", given.flags.get("add_wham_noise", "false"))


def noise_in_evaluation(value: str, given: Given) -> list[str]:
    if value == "false" or "single_sample" in given.flags:
        return []
    if "wham_folder" not in given.flags:
        raise OtoscopeError("--add_wham_noise: give the folder of the noise too: --wham_folder DIR")
    # the options that leave the other conditions out, without the one that this flag adds
    others = [option for option in _NO_CONDITION if not option.startswith("--conditions.wham")]
    return [*others, "--conditions.speech=null"]


def noise_folder_in_evaluation(value: str, given: Given) -> list[str]:
    if "single_sample" in given.flags or not truth("add_wham_noise", given.flags.get("add_wham_noise", "true")):
        return []
    return [f"--conditions.wham.folder={value}"]
