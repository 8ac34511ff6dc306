"""Every flag of SpeechBrain's recipes: the option that means the same, or an answer in one line."""

import re
from pathlib import Path

import pytest

from otoscope.cli.options import values_of
from otoscope.cli.reference_flags import EVALUATE, TRAIN
from otoscope.cli.undotted import Command, translate_flags
from otoscope.errors import OtoscopeError

FLAGS = [
    "use_vq",
    "use_mask_output",
    "number_of_epochs",
    "batch_size",
    "lr",
    "K",
    "save_interpretations",
    "interpret_period",
    "finetuning",
    "g_w",
    "save_period",
    "out_n_neurons",
    "use_pretrained",
    "debug",
    "device",
    "overlap_type",
    "add_wham_noise",
    "wham_folder",
    "ljspeech_path",
    "pretrained_interpreter",
    "single_sample",
]
NO_CONDITION = ["--conditions.clean=false", "--conditions.mixture=false", "--conditions.white_noise=false"]


def train(text, model="PIQ", file=""):
    return translate_flags(Command("train", text.split(), file, model))


def evaluate(text):
    return translate_flags(Command("evaluate", text.split()))


@pytest.mark.parametrize("table", [TRAIN, EVALUATE], ids=["train", "evaluate"])
def test_every_flag_has_an_option_or_an_answer(table):
    assert set(FLAGS) <= set(table)
    for name in FLAGS:
        assert table[name].option or table[name].translate or table[name].answer, name


@pytest.mark.parametrize(
    ("typed", "model", "expected"),
    [
        ("--use_vq False", "PIQ", ["--model.use_vq=false"]),
        ("--use_vq=True", "PIQ", ["--model.use_vq=true"]),
        ("--use_vq", "PIQ", ["--model.use_vq=true"]),
        ("--use_mask_output False", "PIQ", ["--model.use_mask_output=false"]),
        ("--number_of_epochs 5", "L2I", ["--trainer.max_epochs=5"]),
        ("--batch_size=8", "LMAC", ["--data.batch_size=8"]),
        ("--lr 1e-3", "PIQ", ["--model.learning_rate=1e-3"]),
        ("--lr=1e-3", "MyTraining", ["--model.learning_rate=1e-3"]),
        ("--K 256", "PIQ", ["--model.codes=256"]),
        ("--K=50", "NMFTraining", ["--model.components=50"]),
        ("--save_interpretations False", "PIQ", ["--interpretations.clips=0"]),
        ("--save_interpretations True", "PIQ", []),
        ("--interpret_period 3", "PIQ", ["--interpretations.every_n_epochs=3"]),
        ("--save_period=30", "L2I", ["--interpretations.every_n_epochs=30"]),
        ("--finetuning True", "LMAC", ["--model.guidance=4.0"]),
        ("--finetuning True --g_w 2", "LMAC", ["--model.guidance=2"]),
        ("--finetuning False --g_w 2", "LMAC", ["--model.guidance=0.0"]),
        ("--g_w 2", "LMAC", ["--model.guidance=2"]),
        ("--use_pretrained True", "PIQ", []),
        ("--debug False", "PIQ", []),
        ("--device cpu", "PIQ", ["--trainer.accelerator=cpu", "--trainer.devices=1"]),
        ("--device=cuda:1", "PIQ", ["--trainer.accelerator=gpu", "--trainer.devices=[1]"]),
        ("--add_wham_noise True --wham_folder noise", "LMAC", ["--model.noise_folder=noise"]),
        ("--add_wham_noise False --wham_folder=noise", "LMAC", []),
        ("--pretrained_interpreter run", "LMAC", ["--model.start=run"]),
    ],
)
def test_flags_of_a_training(typed, model, expected):
    assert train(typed, model) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--overlap_type mixtures", [*NO_CONDITION, "--conditions.mixture=true"]),
        ("--overlap_type=white_noise --add_wham_noise False", [*NO_CONDITION, "--conditions.white_noise=true"]),
        ("--overlap_type LJSpeech --ljspeech_path s", [*NO_CONDITION, "--conditions.speech.folder=s"]),
        ("--add_wham_noise True --wham_folder=w", [*NO_CONDITION, "--conditions.wham.folder=w"]),
        ("--add_wham_noise False --wham_folder=w", []),
        ("--use_pretrained True", []),
        ("--batch_size 4", ["--batch_size=4"]),
        ("--device cpu", ["--device=cpu"]),
        ("--pretrained_interpreter=run", ["--pretrained_interpreter=run"]),
        ("--single_sample a.wav", ["--single_sample=a.wav"]),
    ],
)
def test_flags_of_an_evaluation(typed, expected):
    options = evaluate(typed)
    # The last value of an option counts.
    last = {option.partition("=")[0]: option for option in options}
    assert set(expected[len(NO_CONDITION) :] if expected[:3] == NO_CONDITION else expected) <= set(last.values())
    if expected[:3] == NO_CONDITION:
        contaminated = {"mixture=true", "white_noise=true", "speech.folder=s", "wham.folder=w"}
        chosen = [option for option in last.values() if option.removeprefix("--conditions.") in contaminated]
        assert chosen == expected[3:]
        assert last["--conditions.clean"] == "--conditions.clean=false"
    else:
        assert not any(option.startswith("--conditions") for option in options)


@pytest.mark.parametrize(
    ("typed", "model", "words"),
    [
        ("--use_vq True", "LMAC", "only PIQ"),
        ("--use_mask_output True", "L2I", "only PIQ"),
        ("--use_vq maybe", "PIQ", "expected True or False, got 'maybe'"),
        ("--lr 1", "NMFTraining", "solver of NMF"),
        ("--K 5", "L2I", "--model.dictionary"),
        ("--save_period 30", "NMFTraining", "when the training ends"),
        ("--finetuning True", "PIQ", "only L-MAC"),
        ("--g_w 4", "PIQ", "only L-MAC"),
        ("--out_n_neurons 50", "PIQ", "--data.classes"),
        ("--use_pretrained False", "PIQ", "--model.classifier"),
        ("--use_pretrained True", "ClassifierTraining", "--model.start"),
        ("--overlap_type mixtures", "PIQ", "--overlap.clips"),
        ("--ljspeech_path s", "LMAC", "--conditions.speech.folder"),
        ("--add_wham_noise True", "LMAC", "--wham_folder"),
        ("--wham_folder w", "PIQ", "only L-MAC"),
        ("--pretrained_interpreter p", "PIQ", "eval.py"),
        ("--single_sample a.wav", "PIQ", "eval.py"),
        ("--number_of_epochs", "PIQ", "its value is missing"),
    ],
)
def test_answers_in_a_training(typed, model, words):
    name = typed.split()[0]
    with pytest.raises(OtoscopeError, match=re.escape(words)) as error:
        train(typed, model)
    assert str(error.value).startswith(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [name for name in FLAGS if EVALUATE[name].answer],
)
def test_answers_in_an_evaluation(name):
    with pytest.raises(OtoscopeError, match=f"--{name}: ") as error:
        evaluate(f"--{name} 1")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--overlap_type music", "there are mixture, mixtures, white_noise, LJSpeech"),
        ("--overlap_type LJSpeech", "--ljspeech_path DIR"),
        ("--add_wham_noise True", "--wham_folder DIR"),
    ],
)
def test_contamination_needs_a_known_kind_and_its_folder(typed, words):
    with pytest.raises(OtoscopeError, match=words):
        evaluate(typed)


def test_noise_of_a_single_sample_is_ignored():
    typed = "--add_wham_noise True --wham_folder w --single_sample a.wav"
    assert evaluate(typed) == ["--single_sample=a.wav"]


def test_debug_runs_two_batches_in_a_temporary_folder():
    options = train("--debug --batch_size 4")
    assert "--trainer.max_epochs=2" in options
    assert "--trainer.limit_train_batches=2" in options
    [folder] = values_of("--output_folder", options)
    assert Path(folder).is_dir()
    Path(folder).rmdir()
    assert not values_of("--output_folder", train("--debug True --out here"))
    options = evaluate("--debug --output_folder here")
    assert "--clips=2" in options


def test_fine_tuning_has_a_folder_of_its_own():
    typed = "--results_folder=r --finetuning True --seed 7"
    assert "--output_folder=r/lmac_cnn14_finetune/7" in train(typed, "LMAC", "hparams/lmac_cnn14.yaml")
    assert not values_of("--output_folder", train(typed, "LMAC", "hparams/lmac_cnn14_finetune.yaml"))
    assert values_of("--output_folder", train(f"{typed} --output_folder x", "LMAC", "a.yaml")) == ["x"]


def test_other_names_are_completed_if_one_option_has_them():
    options = {"width": ["model.classifier.width"], "seed": ["model.seed", "data.seed"]}
    command = Command("train", ["--width=6", "--width", "7", "--unknown=1", "--model.width=2"])
    assert translate_flags(command, options) == [
        "--model.classifier.width=6",
        "--model.classifier.width",
        "7",
        "--unknown=1",
        "--model.width=2",
    ]
    with pytest.raises(OtoscopeError, match=r"--seed: several options .* --model.seed or --data.seed"):
        translate_flags(Command("train", ["--seed=1"]), options)


def test_evaluations_answer_the_flags_of_a_training():
    answered = {name for name in FLAGS if EVALUATE[name].answer}
    assert {"use_vq", "use_mask_output", "number_of_epochs", "lr", "K", "finetuning", "g_w"} <= answered
    assert {"save_interpretations", "interpret_period", "save_period", "out_n_neurons"} <= answered
