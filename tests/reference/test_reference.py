"""The import of the reference leaves the process as it was."""

import importlib.util
import sys


def test_leaves_no_stub_behind(theirs):
    left = [
        name
        for name, module in sys.modules.items()
        if name.startswith("torchaudio") and not hasattr(module, "__file__")
    ]
    assert left == []
    importlib.util.find_spec("torchaudio")  # raises if a module without a spec were left


def test_modules_can_be_walked_over(theirs):
    for module in list(sys.modules.values()):
        hasattr(module, "__file__")  # SpeechBrain's lazy modules raise ImportError


def test_renames_whole_parts_only(reference):
    renamed = reference.renamed({"up.weight": 1, "upper.weight": 2, "weight": 3}, {"up": "down", "weight": "w"})
    assert renamed == {"down.weight": 1, "w": 3}
