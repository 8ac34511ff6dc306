"""Importing the reference has no side effects on other modules; renaming of weights."""

import importlib.util
import sys


def test_import_leaves_no_stub_behind(theirs):
    stubs = [
        name
        for name, module in sys.modules.items()
        if name.startswith("torchaudio") and not hasattr(module, "__file__")
    ]
    assert stubs == []
    importlib.util.find_spec("torchaudio")  # raises if a module without a spec remained


def test_imported_modules_can_be_inspected(theirs):
    for module in list(sys.modules.values()):
        hasattr(module, "__file__")  # SpeechBrain's lazy modules would raise ImportError


def test_only_whole_parts_of_a_name_are_replaced(reference):
    renamed = reference.renamed({"up.weight": 1, "upper.weight": 2, "weight": 3}, {"up": "down", "weight": "w"})
    assert renamed == {"down.weight": 1, "w": 3}


def test_longest_matching_name_is_replaced(reference):
    names = {"decoder.layers": "decoder", "linear": "decoder.14"}
    renamed = reference.renamed({"decoder.layers.0.bias": 1, "linear.bias": 2}, names)
    assert renamed == {"decoder.0.bias": 1, "decoder.14.bias": 2}
    assert reference.renamed(renamed, reference.inverted(names)) == {"decoder.layers.0.bias": 1, "linear.bias": 2}
