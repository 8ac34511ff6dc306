"""A model folder that is replaced: behind a link, and by a process that is killed at each step."""

import os

import pytest

from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.files import atomic
from otoscope.store.folder import open_model


def classifier(label):
    return Conv2dClassifier(["dog", label], width=2, depth=1, head_width=2)


def test_a_link_stays_and_leads_to_the_new_model(tmp_path):
    save_classifier(classifier("old"), tmp_path / "far" / "model")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "model", target_is_directory=True)
    assert save_classifier(classifier("new"), tmp_path / "link") == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    assert open_model(tmp_path / "far" / "model").labels == ["dog", "new"]
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["model"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("step", range(4))
def test_a_kill_at_any_step_loses_no_model(tmp_path, monkeypatch, exchange, step):
    folder = save_classifier(classifier("old"), tmp_path / "model")
    process = os.fork()
    if process == 0:  # killed before the n-th change of a name or removal
        count = [0]

        def killed_later(function):
            def run(*arguments, **options):
                count[0] += 1
                if count[0] > step:
                    os._exit(9)
                return function(*arguments, **options)

            return run

        atomic.Path.rename = killed_later(atomic.Path.rename)
        atomic.shutil.rmtree = killed_later(atomic.shutil.rmtree)
        atomic._exchange = killed_later(atomic._exchange) if exchange else lambda *_: False
        save_classifier(classifier("new"), folder)
        os._exit(0)
    os.waitpid(process, 0)
    # The next writer finishes what was begun; the former model or the new one was there all the time.
    atomic._recover(folder)
    assert open_model(folder).labels in (["dog", "old"], ["dog", "new"])
    save_classifier(classifier("newest"), folder)
    assert open_model(folder).labels == ["dog", "newest"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".former")]
