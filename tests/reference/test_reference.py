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


def test_the_longest_name_counts(reference):
    names = {"decoder.layers": "decoder", "linear": "decoder.14"}
    there = reference.renamed({"decoder.layers.0.bias": 1, "linear.bias": 2}, names)
    assert there == {"decoder.0.bias": 1, "decoder.14.bias": 2}
    assert reference.renamed(there, reference.inverted(names)) == {"decoder.layers.0.bias": 1, "linear.bias": 2}
