"""Text and results as HTML for Gradio."""

from html import unescape

import pytest

from otoscope.app.html import as_text, plain, result_html


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=alert(1)>", "${alert(1)}", "{{#each x}}", "`${x}`", '" onload="']
)
def test_text_is_neither_markup_nor_template(text):
    html = str(plain(text))
    assert not set('<>{}$`"') & set(html)
    assert text in unescape(html)


def test_result_is_shown_in_a_frame_without_access_to_the_app():
    html = result_html("token", "a <summary>", 'a "name"')
    assert 'src="results/token/report.html" sandbox="allow-scripts"' in html
    assert "allow-same-origin" not in html
    assert "a &lt;summary&gt;" in html
    assert 'href="results/token/explanation.zip"' in html


def test_text_has_no_meaning_in_markdown():
    assert unescape(as_text("a*b* [c](d) <e>")) == "a*b* [c](d) <e>"
    assert not set("*[]()<>") & set(as_text("a*b* [c](d) <e>"))
