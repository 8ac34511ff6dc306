"""Flags as users of SpeechBrain's recipes type them: ``--number_of_epochs`` is ``--trainer.max_epochs``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from otoscope.cli import flag_translations as translations
from otoscope.cli.flag_translations import Given
from otoscope.errors import OtoscopeError

TRAINING_OF_METHODS = {"PIQ": "piq", "L2I": "l2i", "LMAC": "lmac", "InterpreterESC50Brain": "amt"}
"""Method (name in the catalogue) by training class."""


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
            value = str(translations.truth(name, value)).lower()
        if self.translate is not None:
            return self.translate(value, given)
        option = self.option
        if not isinstance(option, str):
            option = option.get(given.model, option.get("", ""))
        if not option:
            raise OtoscopeError(f"--{name}: {self.answer}")
        return [f"{option}={value}"]


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
        answer="only PIQ (--model.codes) and NMF (--model.components) have it; L2I takes the size of its "
        "dictionary, --model.dictionary DIR",
    ),
    "save_interpretations": Flag(translate=translations.save_interpretations, boolean=True),
    "interpret_period": Flag("--interpretations.every_n_epochs"),
    "save_period": Flag(
        dict.fromkeys(("PIQ", "L2I", "LMAC"), "--interpretations.every_n_epochs"),
        answer="nothing is saved in between; pictures and sounds are written when the training ends",
    ),
    "finetuning": Flag(translate=translations.finetuning, boolean=True),
    "g_w": Flag(translate=translations.guidance_weight),
    "out_n_neurons": _OF_THE_DATA,
    "use_pretrained": Flag(translate=translations.use_pretrained, boolean=True),
    "debug": Flag(translate=translations.debug_training, boolean=True),
    "device": Flag(translate=translations.device),
    "overlap_type": Flag(answer="contaminated clips belong to eval.py; here --overlap.clips N explains mixtures"),
    "ljspeech_path": Flag(answer="speech is mixed in by eval.py only; there --conditions.speech.folder DIR"),
    "add_wham_noise": Flag(translate=translations.noise_in_training, boolean=True),
    "wham_folder": Flag(translate=translations.noise_folder_in_training),
    "pretrained_interpreter": Flag(translate=translations.start),
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
    **dict.fromkeys(
        ("use_vq", "use_mask_output", "number_of_epochs", "lr", "K", "finetuning", "g_w"), _AT_TRAINING
    ),
    **dict.fromkeys(("save_interpretations", "interpret_period", "save_period"), _ONE_MASK),
    "out_n_neurons": _OF_THE_DATA,
    "use_pretrained": Flag(translate=translations.use_pretrained, boolean=True),
    "debug": Flag(translate=translations.debug_evaluation, boolean=True),
    "overlap_type": Flag(translate=translations.overlap_type),
    "ljspeech_path": Flag(translate=translations.speech_folder),
    "add_wham_noise": Flag(translate=translations.noise_in_evaluation, boolean=True),
    "wham_folder": Flag(translate=translations.noise_folder_in_evaluation),
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
