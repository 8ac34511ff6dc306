import ast

import yaml

from otoscope.classifiers import Conv2dClassifier
from otoscope.explain import Explainer
from otoscope.store.card import card_text
from otoscope.store.folder import read_config


def test_a_card_states_what_the_configuration_holds(explainer, tmp_path):
    details = {
        "metrics": {"scores": {"PIQ": {"AI": 12.5}}},
        "license": "apache-2.0",
        "data": "ESC-10, folds 1 to 3",
    }
    folder = explainer.save_pretrained(tmp_path / "piq", **details)
    text = (folder / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "apache-2.0"
    assert yaml.safe_load(header)["library_name"] == "otoscope"
    for words in ("dog, rain, siren", "16000 Hz", "ESC-10, folds 1 to 3", "scores: PIQ: AI | 12.5", 'load("piq")'):
        assert words in body
    assert "PIQ explanations of a Conv2dClassifier, for the Python package otoscope." in body
    again = Explainer.from_pretrained(folder)
    assert again.details == details
    assert "12.5" in (again.save_pretrained(tmp_path / "again") / "README.md").read_text(), "metrics are kept"
    explainer.classifier.save_pretrained(tmp_path / "classifier")
    bare = (tmp_path / "classifier" / "README.md").read_text()
    assert "Conv2d sound classifier" in bare
    assert "Not stated" in bare
    assert "license" not in yaml.safe_load(bare.split("---\n", 2)[1])


def test_a_card_has_the_sections_of_its_classifier(explainer, tmp_path):
    explainer.classifier.details = {"limits": "three sounds only", "attribution": ["a.ogg by A", "b.ogg by B"]}
    text = (
        explainer.save_pretrained(tmp_path / "piq", training="`otoscope train x.yaml`") / "README.md"
    ).read_text()
    assert "## Training\n\n`otoscope train x.yaml`\n" in text
    assert "## Limits\n\nthree sounds only\n" in text
    assert "## Attribution\n\n- a.ogg by A\n- b.ogg by B\n" in text
    assert "## Use\n" in text


HOSTILE = "</li><script>alert(1)</script> [a](javascript:x) |`*\n# heading\n---\nlicense: mit"


def test_names_labels_and_licence_are_escaped(tmp_path):
    classifier = Conv2dClassifier(["dog", HOSTILE], width=2, head_width=2)
    details = {"license": HOSTILE, "data": HOSTILE, "source": HOSTILE, "metrics": {HOSTILE: 1.0}, "limits": HOSTILE}
    folder = classifier.save_pretrained(tmp_path / "model", **details)
    config = read_config(folder)
    card = card_text(HOSTILE, config, config)
    # The front matter ends where it should, and holds the licence as a value.
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == " ".join(HOSTILE.split())
    assert body.count("\n---") == 0
    before, _, rest = body.partition("```python\n")
    code, _, after = rest.partition("\n```\n")
    for markup in ("<script", "</li>", "\n# heading", " [a](", "| </"):
        assert markup not in before
        assert markup not in after
    # The example stays code, with the name as a text.
    assert ast.parse(code).body[1].value.func.value.id == "otoscope"
    assert ast.parse(code).body[1].value.args[0].value == HOSTILE
