"""The benchmark of the audit: which cues it plants, and when one counts as found."""

from types import SimpleNamespace

import pytest
from benchmarks.audit import classifiers
from benchmarks.audit.__main__ import summarise
from benchmarks.audit.cases import KINDS, Case, is_right, make_cases

from otoscope.audit import Place, Suspect
from otoscope.classifiers import Conv2dClassifier
from otoscope.data.planted import Cue


def suspect(kind, **place):
    return Suspect(
        label="dog",
        kind=kind,
        name=kind,
        place=Place(**place),
        removal=None,
        transplant=None,
        level_db=None,
        p_value=None,
        q_value=None,
        verdict="shortcut",
        sentence="",
    )


def case(kind, frequency_hz):
    return Case(kind, 0, "dog", Cue(kind, frequency_hz=frequency_hz))


@pytest.mark.parametrize(
    ("planted", "right", "wrong"),
    [
        (
            case("tone", 3000.0),
            suspect("band", low_hz=2900, high_hz=3100),
            suspect("band", low_hz=800, high_hz=900),
        ),
        (
            case("tone", 3000.0),
            suspect("band", low_hz=2500, high_hz=3300),
            suspect("band", low_hz=500, high_hz=6000),
        ),
        (case("infrasound", 14.0), suspect("band", low_hz=0, high_hz=20), suspect("band", low_hz=0, high_hz=90)),
        (case("hum", 50.0), suspect("hum", low_hz=48.5, high_hz=525), suspect("hum", low_hz=58.2, high_hz=630)),
        (case("clicks", 8.0), suspect("clicks"), suspect("segment", start_s=0.0, end_s=0.1)),
        (case("low_pass", 4000.0), suspect("edge", low_hz=4200.0), suspect("edge", low_hz=3000.0)),
        (
            case("beep", 2500.0),
            suspect("segment", start_s=0.0, end_s=0.25),
            suspect("segment", start_s=-0.25, end_s=0),
        ),
        (case("beep", 2500.0), suspect("band", low_hz=2400, high_hz=2600), suspect("hum", low_hz=48, high_hz=525)),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else value.kind,
)
def test_a_cue_is_found_where_it_is(planted, right, wrong):
    assert is_right(right, planted)
    assert not is_right(wrong, planted)
    other = Case(planted.name, 0, "rain", planted.cue)
    assert not is_right(right, other)
    assert not is_right(right, Case("clean", 0))


def test_cases_depend_on_the_seed_alone():
    labels = ["dog", "rain", "rooster"]
    cases = make_cases(3, labels, clean=2)
    assert len(cases) == 2 * len(KINDS) + 2
    assert cases == make_cases(3, labels, clean=2)
    assert cases != make_cases(4, labels, clean=2)
    # other kinds are left out without a change of the rest
    assert make_cases(3, labels, clean=0, kinds=["hiss"]) == [
        draws for draws in cases if draws[0].name.startswith("hiss")
    ]
    assert [draws[0].name for draws in cases if draws[0].cue is None] == ["clean-0", "clean-1"]


def test_draws_of_a_case_are_other_classifiers_with_a_cue_of_its_kind():
    for draws in make_cases(3, ["dog", "rain", "rooster"], clean=0):
        assert len({case.name for case in draws}) == len({case.seed for case in draws}) == len(draws) > 1
        assert len({(case.cue.kind, case.cue.level_db) for case in draws}) == 1


def test_summary_counts_what_is_found_and_what_is_false():
    row = {
        "cue": {},
        "use": {"turned": 0.9, "with_cue": 1.0, "without_cue": 0.2},
        "draws": 1,
        "found": True,
        "other_shortcuts": 0,
    }
    row |= {"unclear_but_right": False, "seconds_per_clip": 0.5}
    unused = {**row, "found": False, "use": {"turned": 0.1, "with_cue": 1.0, "without_cue": 1.0}}
    clean = {**row, "cue": None, "use": {}, "found": False, "other_shortcuts": 1}
    summary = summarise([row, unused, clean])
    assert (summary["planted"], summary["found"], summary["cheating"], summary["found_of_those"]) == (2, 1, 1, 1)
    assert (summary["clean"], summary["clean_with_a_shortcut"]) == (1, 1)


def test_each_classifier_is_trained_with_the_seed_of_its_case(monkeypatch, tmp_path):
    """Otherwise all clean classifiers would be the same one."""
    seeds = []
    monkeypatch.setattr(classifiers, "make_data", lambda case, data_folder: None)
    monkeypatch.setattr(classifiers, "run_training", lambda task, *_: seeds.append(task.seed))
    monkeypatch.setattr(classifiers, "load_classifier", lambda folder: Conv2dClassifier(["dog", "rain"], width=4))
    cases = [draws[0] for draws in make_cases(3, ["dog", "rain"], clean=3)]
    for case in cases:
        classifiers.trained(case, tmp_path / case.name, tmp_path, width=4, epochs=1)
    assert seeds == [case.seed for case in cases]
    assert len(set(seeds)) == len(seeds)


def test_cues_are_planted_where_both_halves_can_test_them():
    def clips(numbers):
        # recordings of two clips each
        files = [
            SimpleNamespace(target=target, recording=f"{target}-{number}", path=f"{target}-{number}-{take}.wav")
            for target, number in numbers
            for take in range(2)
        ]
        return SimpleNamespace(files=files)

    few, enough = [(0, number) for number in range(11)], [(1, number) for number in range(12)]
    source = SimpleNamespace(
        labels=["few", "enough"], valid_set=clips(few[:5] + enough[:5]), test_set=clips(few[5:] + enough[5:])
    )
    assert classifiers.labels_to_plant(source) == ["enough"]
