"""Flags as users of SpeechBrain's recipes type them: ``--number_of_epochs 5`` instead of ``--trainer.max_epochs 5``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from otoscope.cli.options import DEFAULT_SEED, values_of
from otoscope.errors import OtoscopeError

TRAINING_OF_METHODS = {"PIQ": "piq", "L2I": "l2i", "LMAC": "lmac", "InterpreterESC50Brain": "amt"}
"""Method (name in the catalogue) by training class."""
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


@dataclass(frozen=True)
class Flag:
    """Flag of the reference in one verb.

    Attributes:
        option: Option that means the same; by training class if it depends on it, with that of all others under "".
        translate: Function that returns the arguments that mean the same, where no single option does.
        boolean: Whether the value is true or false.
        answer: Advice for the error, where nothing means the same.
    """

    option: str | Mapping[str, str] = ""
    translate: Callable[[str, Given], list[str]] | None = None
    boolean: bool = False
    answer: str = ""

    def arguments(self, name: str, value: str, given: Given) -> list[str]:
        """Return the arguments that mean the same.

        Args:
            name: Name of the flag, without dashes.
            value: Its value as typed.
            given: Command line that it is part of.

        Raises:
            OtoscopeError: Nothing means the same, or the value is not of the right type.
        """
        if self.boolean:
            value = str(_truth(name, value)).lower()
        if self.translate is not None:
            return self.translate(value, given)
        option = self.option
        if not isinstance(option, str):
            option = option.get(given.model, option.get("", ""))
        if not option:
            raise OtoscopeError(f"--{name}: {self.answer}")
        return [f"{option}={value}"]


def _truth(name: str, value: str) -> bool:
    """Return a truth value as YAML reads it."""
    truth = yaml.safe_load(value)
    if not isinstance(truth, bool):
        raise OtoscopeError(f"--{name}: expected True or False, got {value!r}")
    return truth


def _save_interpretations(value: str, given: Given) -> list[str]:
    return [] if value == "true" else ["--interpretations.clips=0"]


def _finetuning(value: str, given: Given) -> list[str]:
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


def _guidance_weight(value: str, given: Given) -> list[str]:
    if given.model != "LMAC":
        raise OtoscopeError(f"--g_w: only L-MAC has a guidance weight (train_lmac.py), not {given.model or 'this'}")
    # with --finetuning, that flag decides whether the weight counts
    return [] if "finetuning" in given.flags else [f"--model.guidance={value}"]


def _use_pretrained(value: str, given: Given) -> list[str]:
    if given.model == "ClassifierTraining":
        raise OtoscopeError(
            "--use_pretrained: FocalNet and ViT take pretrained weights from --model.classifier.weights NAME (null "
            "for random weights); the other classifiers start from random weights"
        )
    if value == "true":
        return []
    raise OtoscopeError(
        "--use_pretrained: an interpreter always explains a trained classifier; name yours with "
        "--model.classifier DIR"
    )


def _debug_training(value: str, given: Given) -> list[str]:
    if value == "false":
        return []
    limits = [f"--trainer.limit_{stage}_batches={_DEBUG_BATCHES}" for stage in ("train", "val", "test")]
    return [f"--trainer.max_epochs={_DEBUG_BATCHES}", *limits, *_debug_folder(given)]


def _debug_evaluation(value: str, given: Given) -> list[str]:
    return [] if value == "false" else [f"--clips={_DEBUG_BATCHES}", "--sanity_clips=1", *_debug_folder(given)]


def _debug_folder(given: Given) -> list[str]:
    """Return the option of a temporary folder, so that a trial is never taken for a run and resumed."""
    if given.names_output:
        return []
    return [f"--output_folder={tempfile.mkdtemp(prefix='otoscope-debug-')}"]


def _device(value: str, given: Given) -> list[str]:
    kind, _, number = value.partition(":")
    accelerator = {"cuda": "gpu"}.get(kind, kind)
    devices = f"[{number}]" if number else "1"
    return [f"--trainer.accelerator={accelerator}", f"--trainer.devices={devices}"]


def _noise_in_training(value: str, given: Given) -> list[str]:
    if value == "true" and "wham_folder" not in given.flags:
        raise OtoscopeError("--add_wham_noise: give the folder of the noise too: --wham_folder DIR")
    return []


def _noise_folder_in_training(value: str, given: Given) -> list[str]:
    if not _truth("add_wham_noise", given.flags.get("add_wham_noise", "true")):
        return []
    if given.model != "LMAC":
        raise OtoscopeError(
            f"--wham_folder: only L-MAC is trained with noise (train_lmac.py), not {given.model or 'this'}"
        )
    return [f"--model.noise_folder={value}"]


def _start(value: str, given: Given) -> list[str]:
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


def _overlap_type(value: str, given: Given) -> list[str]:
    if value not in _CONTAMINATIONS:
        raise OtoscopeError(f"--overlap_type: {value} is none of {', '.join(_CONTAMINATIONS)}")
    if _adds_noise(given):
        return []
    if value != "LJSpeech":
        return [*_NO_CONDITION, "--conditions.speech=null", *_CONTAMINATIONS[value]]
    if "ljspeech_path" not in given.flags:
        raise OtoscopeError("--overlap_type LJSpeech: give the folder of the speech too: --ljspeech_path DIR")
    return list(_NO_CONDITION)


def _speech_folder(value: str, given: Given) -> list[str]:
    if given.flags.get("overlap_type", "LJSpeech") != "LJSpeech" or _adds_noise(given):
        return []
    # the reference downloads the speech if it is absent
    return [f"--conditions.speech.folder={value}", "--conditions.speech.fetch=true"]


def _adds_noise(given: Given) -> bool:
    return _truth("add_wham_noise", given.flags.get("add_wham_noise", "false"))


def _noise_in_evaluation(value: str, given: Given) -> list[str]:
    if value == "false" or "single_sample" in given.flags:
        return []
    if "wham_folder" not in given.flags:
        raise OtoscopeError("--add_wham_noise: give the folder of the noise too: --wham_folder DIR")
    # the options that leave the other conditions out, without the one that this flag adds
    others = [option for option in _NO_CONDITION if not option.startswith("--conditions.wham")]
    return [*others, "--conditions.speech=null"]


def _noise_folder_in_evaluation(value: str, given: Given) -> list[str]:
    if "single_sample" in given.flags or not _truth(
        "add_wham_noise", given.flags.get("add_wham_noise", "true")
    ):
        return []
    return [f"--conditions.wham.folder={value}"]


_AT_TRAINING = Flag(answer="belongs to the training; an evaluation takes the interpreter as it was trained")
_OF_THE_DATA = Flag(answer="the data set decides the number of classes; --data.classes '[dog,rain]' selects some")
_CLASSIFIER_FILES = Flag(answer="name the folder of both files, or a model folder, with --model.classifier DIR")

TRAIN: dict[str, Flag] = {
    "use_vq": Flag({"PIQ": "--model.use_vq"}, boolean=True, answer="only PIQ quantises (train_piq.py)"),
    "use_mask_output": Flag(
        {"PIQ": "--model.use_mask_output"}, boolean=True, answer="only PIQ has a choice; the others make masks"
    ),
    "number_of_epochs": Flag("--trainer.max_epochs"),
    "batch_size": Flag("--data.batch_size"),
    "lr": Flag(
        {"": "--model.learning_rate", "NMFTraining": "", "InterpreterESC50Brain": ""},
        answer="there is no learning rate: the solver of NMF needs none, and AMT trains nothing",
    ),
    "K": Flag(
        {"PIQ": "--model.codes", "NMFTraining": "--model.components", "AmortizedNMFTraining": "--model.components"},
        answer="only PIQ (--model.codes) and NMF (--model.components) have it; L2I takes the size of its dictionary, "
        "--model.dictionary DIR",
    ),
    "save_interpretations": Flag(translate=_save_interpretations, boolean=True),
    "interpret_period": Flag("--interpretations.every_n_epochs"),
    "save_period": Flag(
        dict.fromkeys(("PIQ", "L2I", "LMAC"), "--interpretations.every_n_epochs"),
        answer="nothing is saved in between; pictures and sounds are written when the training ends",
    ),
    "finetuning": Flag(translate=_finetuning, boolean=True),
    "g_w": Flag(translate=_guidance_weight),
    "out_n_neurons": _OF_THE_DATA,
    "use_pretrained": Flag(translate=_use_pretrained, boolean=True),
    "debug": Flag(translate=_debug_training, boolean=True),
    "device": Flag(translate=_device),
    "overlap_type": Flag(answer="contaminated clips belong to eval.py; here --overlap.clips N explains mixtures"),
    "ljspeech_path": Flag(answer="speech is mixed in by eval.py only; there --conditions.speech.folder DIR"),
    "add_wham_noise": Flag(translate=_noise_in_training, boolean=True),
    "wham_folder": Flag(translate=_noise_folder_in_training),
    "pretrained_interpreter": Flag(translate=_start),
    "single_sample": Flag(answer="belongs to eval.py; or use `otoscope explain CLIP.wav --model DIR`"),
    "embedding_model_path": _CLASSIFIER_FILES,
    "classifier_model_path": _CLASSIFIER_FILES,
    "train_fold_nums": Flag("--data.train_folds"),
    "valid_fold_nums": Flag("--data.valid_folds"),
    "test_fold_nums": Flag("--data.test_folds"),
}
"""Flags of the reference in ``otoscope train``, by name."""

_ONE_MASK = Flag(
    answer="an evaluation saves scores; --single_sample CLIP.wav saves the explanation of a recording as sound"
)
EVALUATE: dict[str, Flag] = {
    **dict.fromkeys(("use_vq", "use_mask_output", "number_of_epochs", "lr", "K", "finetuning", "g_w"), _AT_TRAINING),
    **dict.fromkeys(("save_interpretations", "interpret_period", "save_period"), _ONE_MASK),
    "out_n_neurons": _OF_THE_DATA,
    "use_pretrained": Flag(translate=_use_pretrained, boolean=True),
    "debug": Flag(translate=_debug_evaluation, boolean=True),
    "overlap_type": Flag(translate=_overlap_type),
    "ljspeech_path": Flag(translate=_speech_folder),
    "add_wham_noise": Flag(translate=_noise_in_evaluation, boolean=True),
    "wham_folder": Flag(translate=_noise_folder_in_evaluation),
    "batch_size": Flag("--batch_size"),
    "device": Flag("--device"),
    "pretrained_interpreter": Flag("--pretrained_interpreter"),
    "single_sample": Flag("--single_sample"),
    "embedding_model_path": _AT_TRAINING,
    "classifier_model_path": _AT_TRAINING,
    "train_fold_nums": Flag("--data.train_folds"),
    "valid_fold_nums": Flag("--data.valid_folds"),
    "test_fold_nums": Flag("--data.test_folds"),
}
"""Flags of the reference in ``otoscope evaluate``, by name."""
TABLES = {"train": TRAIN, "evaluate": EVALUATE}
