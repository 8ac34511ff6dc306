"""Files that hold no options: messages name them, and show nothing of their content."""

import pytest

from otoscope.cli.main import main

SECRET = "user:x:0:0:hunter2:/root:/bin/bash\nother:y:1:1:swordfish:/home:/bin/sh\n"
HPARAMS = "recipes/ESC50/interpret/hparams/piq.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "clip.wav", "--config", "{}"],
        ["explain", "clip.wav", "--config={}"],
        ["convert", "--config", "{}", "a", "b"],
        ["train", "{}"],
        ["train", HPARAMS, "--data", "{}"],
        ["train", HPARAMS, "--model={}"],
        ["evaluate", "{}"],
    ],
)
@pytest.mark.parametrize(
    "text", [SECRET, "a: [hunter2, swordfish\n", "hunter2 swordfish", "- hunter2\n- swordfish\n"]
)
def test_the_content_of_a_file_is_not_printed(tmp_path, capfd, arguments, text):
    path = tmp_path / "private"
    path.write_text(text)
    code = main([argument.format(path) for argument in arguments])
    printed = "".join(capfd.readouterr())
    assert code == 2
    assert str(path) in printed
    assert "hunter2" not in printed
    assert "swordfish" not in printed
