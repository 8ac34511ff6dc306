"""Tables in LaTeX: well formed and readable, whatever methods and conditions are called."""

import re
import unicodedata
from collections.abc import Iterator

from hypothesis import example, given, settings
from hypothesis import strategies as st

from otoscope.evaluation import Block, latex_table
from otoscope.evaluation.paper.latex import latex_text
from otoscope.evaluation.paper.selection import PaperBlock, PaperCell, PaperRow, PaperTable
from otoscope.evaluation.statistics import Estimate

SCORES = ["AD", "FF"]
WORDS = {
    r"\textbackslash": "\\",
    r"\textasciitilde": "~",
    r"\textasciicircum": "^",
    r"\textasciigrave": "`",
    r"\textless": "<",
    r"\textgreater": ">",
    r"\textbar": "|",
}
KNOWN = {"begin", "end", "caption", "centering", "toprule", "midrule", "bottomrule", "multicolumn", "emph"}
KNOWN |= {"textbf", "textit", "rlap", "scriptsize", "pm", "uparrow", "downarrow"}
SPECIAL = r"""\{}&%$#_~^<>|"'`[]*-=!?,;:/@ """ + "\n\t\r\x00\x07\x1b\x7f\u200b\u202e"
names = st.text(st.sampled_from(SPECIAL + "aZ9é鳥") | st.characters(codec="utf-8"), min_size=1, max_size=12)


def is_invisible(text: str) -> bool:
    return any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text)


def tokens(text: str) -> Iterator[str]:
    """Yield commands, single characters and ends of lines as TeX does; a comment is no token."""
    comment = r"(?<!\\)%[^\n]*"
    for match in re.finditer(rf"(?P<comment>{comment})|\\[a-zA-Z]+|\\[^a-zA-Z]|[^\\]", text, re.DOTALL):
        if match["comment"] is None:
            yield match[0]


def check(text: str) -> list[list[str]]:
    """Read a table as TeX does: fail where TeX would, and return the cells of its rows."""
    groups: list[str] = []
    rows, cell = [[]], ""
    in_math = False
    previous = ""
    for token in tokens(text):
        assert previous != r"\\" or token not in "[*", text  # would be an option of the line break
        previous = previous if token.isspace() else token
        if token == "$":
            in_math = not in_math
        elif token == "{":
            groups.append("{")
        elif token == "}":
            assert groups.pop() == "{", text
        elif token in ("&", r"\\") and not groups:
            rows[-1].append(cell.strip())
            cell = ""
            rows += [[]] if token == r"\\" else []
            continue
        elif token.startswith("\\") and token[1:].isalpha():
            assert token in WORDS or token[1:] in KNOWN, token
        elif token in "#_^":
            assert in_math, text
        else:
            assert token not in "~&%", text  # a tie, a column or a comment that nobody meant
            assert token == "\n" or not is_invisible(token), repr(token)
        cell += token
    assert (groups, in_math) == ([], False), text
    return rows[:-1]


def read(escaped: str) -> str:
    """Return what a reader sees of an escaped text: the inverse of `latex_text`."""
    seen = ""
    for token in tokens(escaped):
        seen += WORDS.get(token) or ("" if token in "{}" else token.removeprefix("\\"))
    return seen


def table(method: str, condition: str) -> PaperTable:
    estimate = Estimate(-1.25, -2.5, 0.5, 24)
    cells = {"AD": PaperCell(estimate, "best"), "FF": PaperCell(estimate, "equal")}
    rows = [PaperRow(method, False, cells), PaperRow(f"random as {method}", True, {"AD": cells["FF"]})]
    blocks = [PaperBlock(Block(condition, mask, "heard"), rows, 24) for mask in ("own", "0.2")]
    return PaperTable(blocks, SCORES)


@settings(deadline=None, max_examples=100)
@given(names, names)
@example(r"\end{tabular}\input{/etc/passwd}", r"}\\ & \hline %")
@example("*star", "x")
@example("[2cm] *", "50% of C:\\my_sounds~1\\$x^2$ #1")
@example('--- "a" `b\' <<c>>', "../../etc/passwd && rm -rf *")
@example("line\nbreak\\\\", "\\")
def test_table_is_well_formed_whatever_the_names(method, condition):
    text = latex_table(table(method, condition))
    lines = text.splitlines()
    environments = re.findall(r"^\\(begin|end)\{(\w+)\}", text, re.MULTILINE)
    assert environments == [("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")]
    body = "\n".join(lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")])
    heads, *rows = check(body)
    assert len(heads) == 1 + len(SCORES)
    titles = [row for row in rows if row[0].startswith("\\midrule")]
    assert [len(row) for row in titles] == [1, 1]  # a title spans all columns
    assert {len(row) for row in rows if row not in titles} == {1 + len(SCORES)}
    (caption,) = [line for line in lines if line.startswith(r"\caption")]
    assert check(caption + r" \\") == [[caption]]


@settings(deadline=None, max_examples=100)
@given(names)
def test_escaped_names_are_read_as_they_are(name):
    plain = "".join(character for character in name if character.isspace() or not is_invisible(character))
    assert read(latex_text(name)) == " ".join(plain.split()).replace('"', "''")
