"""Text and results as HTML and Markdown for Gradio, whose templates have signs of their own."""

from __future__ import annotations

from markupsafe import Markup


def result_html(token: str, summary: str, name: str) -> Markup:
    """Return a result as HTML: its summary, its downloads, and its page in a frame without access to the app.

    Args:
        token: Name of the result on the shelf.
        summary: Summary of one line. Any text.
        name: Name of the recording. Any text.
    """
    links = Markup(
        '<p class="otoscope-links">'
        '<a href="results/{0}/report.html?download" download>Download the report (HTML)</a> '
        '<a href="results/{0}/explanation.zip" download>Download the folder (zip)</a></p>'
    ).format(token)
    text = plain(summary.replace(" -> ", " → "))
    return Markup('<p class="otoscope-summary">{}</p>{}{}').format(text, links, frame_html(token, name))


def plain(text: str) -> Markup:
    """Return text for Gradio's HTML, which is a template as well: its signs are written as entities.

    Example:
        >>> plain("<b>{{x}}${y}")
        Markup('&lt;b&gt;&#123;&#123;x&#125;&#125;&#36;&#123;y&#125;')
    """
    escaped = str(Markup.escape(text))
    for sign in "{}$`":
        escaped = escaped.replace(sign, f"&#{ord(sign)};")
    return Markup(escaped)


def frame_html(token: str, name: str) -> Markup:
    """Return the frame that shows the page of a result; the page has no access to the app.

    Args:
        token: Name of the result on the shelf.
        name: Name of the recording. Any text.
    """
    return Markup(
        '<iframe class="otoscope-result" title="Explanation of {}" src="results/{}/report.html" '
        'sandbox="allow-scripts"></iframe>'
    ).format(plain(name), token)


def as_text(text: str) -> str:
    """Return text for Markdown, in which it has no meaning."""
    return "".join(sign if sign.isalnum() or sign == " " else f"&#{ord(sign)};" for sign in text)
