"""Whole evaluations: batch sizes, interruptions, additions, and methods that fail."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from otoscope.classifiers import CallableClassifier, TorchClassifier
from otoscope.data import AudioFolder, Clip
from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation import Block, Conditions, NoiseSource, Settings, report, run_evaluation
from otoscope.evaluation.proportions import exact_interval
from otoscope.evaluation.run import select_clips
from otoscope.evaluation.statistics import estimate, resampling_by

CONDITIONS = Conditions(white_noise=False, speech=None)
QUICK = {
    "areas": (0.1, 0.3),
    "bootstrap": 100,
    "sanity": False,
    "curves": False,
    "sanity_clips": 2,
    "clips": 4,
    "randomisation": False,
    "stability": False,
    "check_clips": 2,
    "shuffles": 2,
    "noisy_inputs": 1,
}
ALL = {"sanity": True, "curves": True}


@pytest.fixture
def run(classifier, data, kinds, tmp_path, monkeypatch):
    """Function that runs an evaluation, by default without pictures, which take most of its time."""
    draw = (report.draw_table, report.draw_curves, report.write_paper)

    def evaluate(folder="out", names=("gradient", "constant"), methods=None, pictures=False, **options):
        for name, function in zip(("draw_table", "draw_curves", "write_paper"), draw, strict=True):
            monkeypatch.setattr(report, name, function if pictures else lambda *arguments: None)
        specs = methods or {name: kinds[name](classifier) for name in names}
        settings = Settings(**{**QUICK, **options})
        return run_evaluation(classifier, specs, data, tmp_path / folder, CONDITIONS, settings, progress=False)

    return evaluate


def _numbers(content: Any) -> dict[str, float]:
    """Return every number of a nested result by its path, except times and descriptions of the run."""
    numbers = {}

    def walk(part, path):
        if isinstance(part, dict):
            for name, value in part.items():
                if name not in ("seconds_per_clip", "machine", "settings", "leaders", "labels"):
                    walk(value, f"{path}/{name}")
        elif isinstance(part, list):
            for place, value in enumerate(part):
                walk(value, f"{path}/{place}")
        elif isinstance(part, int | float) and part == part:
            numbers[path] = float(part)

    walk(content, "")
    return numbers


def test_results_do_not_depend_on_the_batch_size(run):
    options = {**ALL, "clips": 3, "road": True}
    single, together = (_numbers(run(f"out{size}", batch_size=size, **options).results) for size in (1, 16))
    assert single.keys() == together.keys()
    assert len(single) > 1000
    for path, value in single.items():
        tolerance = 1e-4 * max(1.0, abs(value)) if "SI-SDRi" not in path and "sanity" not in path else 2e-3
        assert value == pytest.approx(together[path], abs=tolerance, nan_ok=True), path


def test_output_files(run, tmp_path):
    evaluation = run(pictures=True, **ALL)
    folder = tmp_path / "out"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "results.json", "table.csv", "pairs.csv", "table.txt", "table.png", "curves.png", "records",
        "paper_table.tex", "paper_table.md", "paper_figure.pdf", "paper_figure.svg",
    }  # fmt: skip
    assert repr(evaluation) == f"Report(gradient, constant in clean, mixture; files in {folder})"
    results = json.loads((folder / "results.json").read_text())
    assert results["conditions"]["clean"]["clips"] == 4
    assert results["skipped"]["conditions"] == {"wham": "no folder is given (--conditions.wham.folder DIR)"}
    scores = results["scores"]["mixture"]["0.3"]["heard"]
    assert list(scores) == ["gradient", "constant", "random", "loudest", "ideal"]
    assert {"mean", "low", "high", "n"} == scores["gradient"]["AD"].keys()
    assert "loudest as gradient" in results["scores"]["clean"]["own"]["mask"]
    assert results["scores"]["clean"]["0.1"]["mask"]["gradient"]["MM"]["mean"] == pytest.approx(0.1, abs=1e-4)
    assert results["seconds_per_clip"].keys() == {"gradient", "constant"}
    assert results["machine"]["torch"] == torch.__version__
    assert set(results["curves"]) == {"areas", "clean"}
    assert len(results["curves"]["clean"]["random"]["insertion"]["mean"]) == len(results["curves"]["areas"])
    assert set(results["sanity"]["gradient"]["rank_correlation"]) == {
        "head", "residual", "blocks.2", "blocks.1", "blocks.0"
    }  # fmt: skip
    assert results["sanity"]["constant"]["verdict"].startswith("undefined")
    assert evaluation.text in (folder / "table.txt").read_text()
    lines = (folder / "table.csv").read_text().splitlines()
    assert lines[0] == "condition,method,mask,domain,score,mean,low,high,n"
    assert any(line.startswith("mixture,ideal,own,heard,SI-SDRi,") for line in lines)


def test_a_run_in_bfloat16_is_near_one_in_float32_and_apart_from_it(run, classifier, tmp_path):
    low = run("low", precision="bfloat16", workers=2, clips=2)
    full = run("full", clips=2)
    settings = json.loads((tmp_path / "full" / "records" / "index.json").read_text())["settings"]
    assert "precision" not in settings  # as in records of earlier versions
    values, rounded = _numbers(full.results["scores"]), _numbers(low.results["scores"])
    assert values.keys() == rounded.keys()
    evidence = [name for name in values if name.endswith("p_evidence/mean")]
    differences = [abs(values[name] - rounded[name]) for name in evidence]
    assert 0 < max(differences) < 0.05
    assert (full.results["settings"]["precision"], low.results["settings"]["precision"]) == ("float32", "bfloat16")
    assert "bfloat16" not in full.text + full.paper().caption
    assert "the classifier's network ran in bfloat16" in low.text
    assert low.paper().caption.endswith("The classifier's network ran in bfloat16.")
    for folder, precision in (("full", "bfloat16"), ("low", "float32")):
        with pytest.raises(ConfigurationError, match=f"precision was .*, is {precision}"):
            run(folder, precision=precision, clips=2)
    # the classifier of the caller runs as before, also after an error
    assert classifier.network_precision == "float32"


def test_a_function_cannot_run_in_bfloat16(data, tmp_path):
    black_box = CallableClassifier(lambda waveforms: np.full((len(waveforms), 3), 1 / 3), data.labels)
    with pytest.raises(ConfigurationError, match="precision: CallableClassifier cannot run in bfloat16"):
        run_evaluation(black_box, {}, data, tmp_path, settings=Settings(precision="bfloat16"), progress=False)
    with pytest.raises(ConfigurationError, match="precision: expected float32 or bfloat16, got 'half'"):
        Settings(precision="half")


@pytest.fixture
def whole_batches(monkeypatch):
    """Let batches have as many clips as the settings say, however few there are."""
    monkeypatch.setattr("otoscope.evaluation.settings._LEAST_BATCHES", 1)


@pytest.mark.usefixtures("whole_batches")
def test_an_interrupted_run_resumes(run, kinds, classifier, monkeypatch):
    whole = _numbers(run("whole", names=("gradient",), batch_size=2, clips=4, **ALL).results)
    kind = kinds["gradient"]
    decode, calls = kind.decode, []

    def interrupted_decode(self, *arguments, **options):
        calls.append(len(arguments[0]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return decode(self, *arguments, **options)

    monkeypatch.setattr(kind, "decode", interrupted_decode)
    with pytest.raises(KeyboardInterrupt):
        run("killed", names=("gradient",), batch_size=2, clips=4, **ALL)
    assert len(calls) == 4
    assert _numbers(run("killed", names=("gradient",), batch_size=2, clips=4, **ALL).results) == whole
    assert calls[:5] == [2] * 5  # two batches in each of two conditions; the interrupted one is repeated


def test_finished_evaluation_computes_nothing_again(run, kinds, classifier, monkeypatch):
    first = run(**ALL).results
    monkeypatch.setattr(kinds["gradient"], "decode", lambda *a, **k: pytest.fail("decoded again"))
    forward, sizes = classifier.forward, []
    monkeypatch.setattr(classifier, "forward", lambda *a, **k: sizes.append(len(a[0])) or forward(*a, **k))
    assert _numbers(run(**ALL).results) == _numbers(first)
    assert sizes == [1, 1]  # the fingerprint classifies noise twice


def test_methods_and_clips_can_be_added(run, kinds, classifier, monkeypatch):
    both = {name: kinds[name](classifier) for name in ("constant", "gradient")}
    fresh = _numbers(run("fresh", methods=both).results["scores"])
    run(names=("constant",), clips=2)
    run(names=("constant",))
    monkeypatch.setattr(kinds["constant"], "decode", lambda *a, **k: pytest.fail("decoded again"))
    assert _numbers(run(methods=both).results["scores"]) == pytest.approx(fresh, abs=2e-3)


def test_other_settings_are_refused(run):
    run()
    with pytest.raises(ConfigurationError, match=r"areas was \[0.1, 0.3\], is \[0.2\]"):
        run(areas=(0.2,))
    with pytest.raises(ConfigurationError, match="seed was 1234, is 5"):
        run(seed=5)


def test_a_method_that_changed_is_refused(run, kinds, classifier):
    run(methods={"G": kinds["gradient"](classifier)})
    with pytest.raises(ConfigurationError, match=r"methods\.G was"):
        run(methods={"G": kinds["gradient"](classifier, power=2.0)})


def test_methods_that_do_not_fit_are_skipped(run, classifier, kinds):
    evaluation = run(methods={"AMT": "amt", "gone": "no/such/model", "G": kinds["gradient"](classifier)})
    skipped = evaluation.results["skipped"]["methods"]
    assert "activation map" in skipped["AMT"]
    assert "no/such/model" in skipped["gone"]
    assert "skipped method AMT: " in evaluation.text
    assert "AMT" not in evaluation.results["scores"]["clean"]["0.1"]["mask"]
    assert "G" in evaluation.results["scores"]["clean"]["0.1"]["mask"]


@pytest.mark.usefixtures("whole_batches")
def test_undefined_clips_are_counted(run):
    evaluation = run(names=("broken",), batch_size=2)
    assert evaluation.results["undefined"] == {"broken": 4}
    cell = evaluation.table.estimates[Block("clean", "0.1", "mask")]["AD"]["broken"]
    assert cell.clips == 2
    assert np.isfinite(cell.mean)
    assert "not finite on 4 clips" in evaluation.text


def test_noise_from_a_folder(classifier, data, kinds, tmp_path):
    from otoscope import save_audio

    for name in ("a", "b"):
        save_audio(tmp_path / "wham" / "tt" / f"{name}.wav", torch.randn(3000))
    conditions = Conditions(False, NoiseSource(str(tmp_path / "wham")), False, False, None)
    settings = Settings(**{**QUICK, "curves": True})
    method = {"G": kinds["gradient"](classifier)}
    evaluation = run_evaluation(classifier, method, data, tmp_path / "out", conditions, settings, progress=False)
    assert list(evaluation.results["conditions"]) == ["wham"]
    assert set(evaluation.results["curves"]) == {"areas", "wham"}  # curves are those of the first condition
    with pytest.raises(ConfigurationError, match="none is available"):
        run_evaluation(classifier, method, data, tmp_path, Conditions(False, None, False, False, None), settings)


def test_results_do_not_depend_on_the_number_of_processes(run, tmp_path):
    options = {**ALL, "clips": 4, "batch_size": 2, "randomisation": True, "stability": True}
    alone, shared = (_numbers(run(f"out{count}", workers=count, **options).results) for count in (1, 2))
    assert alone.keys() == shared.keys()
    for path, value in alone.items():
        # rounding differs with the threads of a process; scores in percent are a hundred times as large
        assert shared[path] == pytest.approx(value, abs=1e-4, rel=1e-4), path
    # this process wrote every record, in the same order
    for file in (tmp_path / "out1/records").glob("*/*.jsonl"):
        names = [
            [json.loads(line)["clip"] for line in path.read_text().splitlines()]
            for path in (file, tmp_path / "out2" / file.relative_to(tmp_path / "out1"))
        ]
        assert names[0] == names[1]


def test_ideal_control_needs_the_truth(classifier, kinds, tmp_path):
    from otoscope import save_audio

    for number in range(24):
        label = classifier.labels[number % 3]
        save_audio(tmp_path / "sounds" / label / f"{number}.wav", torch.randn(6000 + 500 * (number % 2)))
    folder = AudioFolder(tmp_path / "sounds", cache_folder=tmp_path / "cache", test_share=0.3)
    settings = Settings(**{**QUICK, "clips": 4, "batch_size": 3})
    method = {"G": kinds["gradient"](classifier)}
    evaluation = run_evaluation(classifier, method, folder, tmp_path / "out", CONDITIONS, settings, progress=False)
    scores = evaluation.results["scores"]
    assert "ideal" not in scores["clean"]["0.1"]["mask"]
    assert "IoU" not in scores["clean"]["0.1"]["mask"]["G"]
    assert "ideal" in scores["mixture"]["0.1"]["mask"]  # the clean clip is the truth


@pytest.mark.parametrize("count", [1, 4, 7, 11])
def test_clips_are_spread_over_classes(count):
    clips = [Clip(torch.zeros(1), index // 4, str(index), "") for index in range(12)]
    selected = select_clips(clips, count)
    assert len(set(selected)) == count
    counts = [sum(index // 4 == target for index in selected) for target in range(3)]
    assert max(counts) - min(counts) <= 1
    assert select_clips(clips, None) == select_clips(clips, 50) == list(range(12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"areas": [0.1, 0.1]}, "areas"),
        ({"areas": [1.5]}, "areas"),
        ({"areas": []}, "areas"),
        ({"batch_size": 0}, "batch_size: expected 1 or more"),
        ({"bootstrap": 3}, "bootstrap"),
        ({"clips": 0}, "clips"),
        ({"workers": 0}, "workers"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings(**options)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda other: other.blocks[0][0].bias.add_(0.5), "classifier.weights"),
        (lambda other: other.labels.reverse(), "classifier.labels"),
        (lambda other: setattr(other, "scale", 7.0), "classifier.options"),
        (lambda other: other.head.register_forward_hook(lambda *call: call[2] + torch.eye(3)[:1]), "answer"),
    ],
)
def test_records_of_another_classifier_are_refused(run, classifier, change, name):
    run()
    change(classifier)
    with pytest.raises(ConfigurationError, match=f"{name}.* was .*choose another --output_folder"):
        run()


def test_records_of_another_function_are_refused(data, tmp_path):
    def evaluate(function):
        box = CallableClassifier(function, data.labels)
        settings = Settings(**{**QUICK, "sanity": True})
        return run_evaluation(box, {"occlusion": "occlusion"}, data, tmp_path, CONDITIONS, settings, progress=False)

    def level(waveforms):
        loud = np.clip(np.abs(waveforms).mean(1), 0, 0.5)
        return np.stack([loud, loud / 2, 1 - 1.5 * loud], 1)

    evaluation = evaluate(level)
    assert evaluation.results["skipped"]["checks"] == {
        "sanity": "CallableClassifier has no weights that could be shuffled"
    }
    assert "skipped check sanity" in evaluation.text
    evaluate(level)
    with pytest.raises(ConfigurationError, match=r"classifier\.answer was"):
        evaluate(lambda waveforms: level(waveforms)[:, ::-1])


def test_records_of_another_sound_are_refused(run, data, monkeypatch):
    run(clips=2)
    flipped = [replace(clip, waveform=clip.waveform.flip(0)) for clip in (data.test_set[i] for i in range(9))]
    monkeypatch.setattr(data, "setup", lambda stage: None)
    monkeypatch.setattr(data, "test_set", flipped)
    with pytest.raises(DataError, match="was scored with another sound; choose another"):
        run(clips=2)


def test_curves_can_be_added_later(run):
    run(clips=2)
    assert set(run(clips=2, curves=True).results["curves"]) == {"areas", "clean"}
    results = run(clips=2, road=True).results
    assert set(results["curves"]) == {"areas"}
    assert set(results["road"]) == {"areas", "clean"}
    assert "ROAD" in results["scores"]["clean"]["0.3"]["heard"]["gradient"]
    assert "ROAD" not in results["scores"]["mixture"]["0.3"]["heard"]["gradient"]


def test_clips_with_the_same_name_are_refused(run, data, monkeypatch):
    clips = [replace(data.test_set[i], name="same" if i > 4 else str(i)) for i in range(9)]
    monkeypatch.setattr(data, "setup", lambda stage: None)
    monkeypatch.setattr(data, "test_set", clips)
    with pytest.raises(DataError, match="two test clips are named 'same'"):
        run(clips=9, batch_size=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_method_that_fails_is_skipped(run, kinds, classifier, monkeypatch, workers):
    def fail(*arguments):
        raise ValueError("a matrix is singular\nand more")

    monkeypatch.setattr(kinds["broken"], "decode", fail)
    results = run(names=("gradient", "broken"), workers=workers).results
    assert results["skipped"]["methods"] == {"broken": "ValueError: a matrix is singular"}
    assert "gradient" in results["scores"]["clean"]["own"]["mask"]


def test_sanity_check_uses_the_given_number_of_clips(run):
    assert run(**ALL).results["sanity"]["gradient"]["rank_correlation"]["head"]["n"] == 2
    fewer = run(**{**ALL, "sanity_clips": 1}).results
    assert fewer["sanity"]["gradient"]["rank_correlation"]["head"]["n"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda mask: mask[:, :-1], r"its mask has shape \(.*, 512, 44\), the spectrogram \(.*, 513, 44\)"),
        (lambda mask: 7 * torch.ones_like(mask), r"its mask holds 7; masks lie in \[0, 1\]"),
    ],
)
def test_a_method_with_invalid_masks_is_skipped(run, kinds, monkeypatch, change, reason):
    valid_mask = kinds["broken"].mask
    monkeypatch.setattr(kinds["broken"], "mask", lambda *arguments: change(valid_mask(*arguments)))
    results = run(names=("gradient", "broken")).results
    assert re.fullmatch(reason, results["skipped"]["methods"]["broken"])
    assert "gradient" in results["scores"]["clean"]["own"]["mask"]


class Fragile(torch.nn.Module):
    """Network that returns NaN once its weights are in another order, as one with a logarithm may."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(513 * 3.0).view(513, 3) / 1000)

    def forward(self, log_magnitude):
        logits = log_magnitude.mean(-1) @ self.weight
        return logits if (self.weight.flatten().diff() > 0).all() else logits * torch.nan


def test_scores_remain_if_the_randomised_classifier_fails(data, tmp_path):
    fragile = TorchClassifier(Fragile(), data.labels, axes="bft")
    settings = Settings(**{**QUICK, "sanity": True})
    methods = {"saliency": "saliency"}
    results = run_evaluation(fragile, methods, data, tmp_path, CONDITIONS, settings, progress=False).results
    assert "the classifier returns NaN" in results["skipped"]["checks"]["sanity"]
    assert results["scores"]["clean"]["own"]["mask"]["saliency"]["AD"]["n"] == 4
    assert torch.equal(fragile.module.weight, Fragile().weight)  # the weights are restored


def test_intervals_and_comparisons_draw_recordings(run, data, monkeypatch):
    clips = [data.test_set[index] for index in range(9)]
    monkeypatch.setattr(data, "setup", lambda stage: None)
    monkeypatch.setattr(data, "test_set", clips)
    apart = run("apart", clips=9)
    cut = [replace(clip, recording=f"recording {index // 3}") for index, clip in enumerate(clips)]
    monkeypatch.setattr(data, "test_set", cut)
    together = run("together", clips=9)
    facts = together.results["conditions"]["clean"]
    assert (facts["clips"], facts["recordings"]) == (9, 3)
    assert apart.results["conditions"]["clean"]["recordings"] == 9
    assert "9 clips of 3 recordings" in together.text
    block = Block("clean", "0.3", "mask")
    values = np.array(
        [
            json.loads(line)["scores"]["0.3"]["mask"]["FF"]
            for line in (together.folder / "records" / "clean" / "gradient.jsonl").read_text().splitlines()
        ]
    )
    recordings = [clip.recording for clip in cut]
    (expected,) = estimate(values[:, None], resampling_by(recordings, 100, 1234), recordings=recordings)
    assert together.table.estimates[block]["FF"]["gradient"] == expected
    # three recordings of three clips are worth three independent clips
    share = together.table.estimates[block]["Fid-In"]["gradient"]
    assert (share.low, share.high) == pytest.approx(exact_interval(3 * share.mean, 3))
    assert apart.table.estimates[block]["Fid-In"]["gradient"].low > share.low or share.mean == 0
    # no comparison of three recordings is significant
    assert {pair.better for pair in together.table.pairs[block]["AD"]} == {""}
