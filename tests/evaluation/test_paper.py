"""Tables and figure for papers: what they show, their marks, and special characters."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from otoscope.errors import ConfigurationError
from otoscope.evaluation import Block, PaperOptions, latex_table, markdown_table, paper_figure
from otoscope.evaluation.paper import select, write_paper
from otoscope.evaluation.paper.latex import latex_text
from otoscope.evaluation.paper.markdown import markdown_text
from otoscope.evaluation.statistics import Sampling
from otoscope.evaluation.table import make_table
from otoscope.evaluation.text import format_block

CLIPS = [f"clip{i}" for i in range(24)]
AREAS = [0.1, 0.2, 0.3]
STRANGE = r"L2I_50% & {co} $\x^2$ ~#|<b>--*"


@pytest.fixture(scope="module")
def table():
    """Two conditions and three methods, two of which cannot be distinguished; controls of own masks are equal."""
    rng = np.random.default_rng(0)
    return make_table({name: _records(rng) for name in ("clean", "white_noise")}, _clips(), Sampling(200, 0))


def _clips():
    return dict.fromkeys(("clean", "white_noise"), CLIPS)


def _records(rng):
    drop = rng.uniform(30, 60, len(CLIPS))
    shifts = {"good": 0.0, STRANGE: 0.3, "bad": 12.0, "random": 30.0, "loudest": 20.0, "all-pass": -29.0}
    records = {}
    for name, shift in shifts.items():
        values = drop + shift + rng.normal(0, 3, len(CLIPS))
        records[name] = {
            clip: {"scores": _scores(value, 90.0 + index % 3, name)}
            for index, (clip, value) in enumerate(zip(CLIPS, values, strict=True))
        }
    return records


def _scores(value, of_control, name):
    scores = {"AD": float(value), "FF": 0.5 - float(value) / 100}
    masks = {str(area): {"mask": scores, "heard": scores} for area in AREAS}
    if name in ("good", STRANGE, "bad"):
        masks["own"] = {"heard": scores}
        masks["random of own"] = {"heard": {"AD": of_control, "FF": -0.4}}
    return masks


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rows_of(text):
    """Return the rows of the tables in Markdown by title of the block."""
    blocks = {}
    for line in text.splitlines():
        if line.startswith("**"):
            rows = blocks.setdefault(line.strip("*"), [])
        elif line.startswith("|"):
            rows.append(cells(line))
    return {title: rows[2:] for title, rows in blocks.items()}


def test_defaults_are_the_middle_area_in_the_first_condition(table):
    rows = rows_of(markdown_table(select(table, AREAS)))
    assert list(rows) == ["clean, area 0.2, masked spectrogram", "clean, area 0.2, heard"]
    assert [row[0] for row in rows["clean, area 0.2, heard"]] == [
        "good", markdown_text(STRANGE), "bad", "*random*", "*loudest*"
    ]  # fmt: skip


def test_best_is_bold_and_ties_of_the_paired_intervals_are_marked(table):
    paper = select(table, AREAS)
    (best, alike) = table.leaders(Block("clean", "0.2", "heard"), "AD", ["good", STRANGE, "bad", "random"])
    assert {best, *alike} == {"good", STRANGE}
    by_name = {row[0]: row[1] for row in rows_of(markdown_table(paper))["clean, area 0.2, heard"]}
    assert by_name[markdown_text(best)].startswith("**")
    assert by_name[markdown_text(*alike)].endswith(" =")
    assert not by_name["bad"].startswith("**")
    assert not by_name["bad"].endswith("=")
    mean = table.estimates[Block("clean", "0.2", "heard")]["AD"]["bad"]
    assert by_name["bad"] == f"{mean.mean:.1f} ± {(mean.high - mean.low) / 2:.1f}"


def test_leaders_are_those_of_the_rows_that_are_shown(table):
    paper = select(table, AREAS, PaperOptions(methods=["bad"], domains=["heard"], intervals=False))
    (rows,) = rows_of(markdown_table(paper)).values()
    assert [row[0] for row in rows] == ["bad", "*random*", "*loudest*"]
    assert rows[0][1].startswith("**")
    assert "±" not in markdown_table(paper)


def test_choices_decide_blocks_columns_and_the_order_of_rows(table):
    options = PaperOptions(
        areas=["own", 0.3], domains=["heard"], conditions=["white_noise"], methods=["bad", "good"], scores=["FF"]
    )
    rows = rows_of(markdown_table(select(table, AREAS, options)))
    assert list(rows) == ["white noise, own masks, heard", "white noise, area 0.3, heard"]
    assert [row[0] for row in rows["white noise, own masks, heard"]] == ["bad", "good", "*random as good, bad*"]
    assert {len(row) for block in rows.values() for row in block} == {2}


def test_equal_controls_are_one_row_of_the_text_too(table):
    lines = format_block(table, Block("clean", "own", "heard")).splitlines()
    assert [line for line in lines if line.startswith("random as")] == [lines[3]]
    assert lines[3].startswith("random as all methods ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"areas": [0.5]}, "paper.areas: there is no '0.5'"),
        ({"methods": ["goo"]}, "paper.methods: there is no 'goo'"),
        ({"conditions": ["wham"]}, "paper.conditions: there is no 'wham'"),
        ({"methods": []}, "paper.methods: nothing is chosen"),
    ],
)
def test_choices_that_the_evaluation_lacks_are_refused(options, words):
    with pytest.raises(ConfigurationError, match=words):
        PaperOptions(**options).check(AREAS, ["good", "bad"], ["clean"])


@pytest.mark.parametrize("options", [{"scores": ["XX"]}, {"domains": ["seen"]}, {"controls": ["none"]}])
def test_names_that_do_not_exist_are_refused(options):
    with pytest.raises(ConfigurationError, match="there is no"):
        PaperOptions(**options)


def test_latex_is_balanced_and_every_line_has_all_columns(table):
    text = latex_table(select(table, AREAS))
    assert (
        re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1] == ["table", "tabular"]
    )
    plain = re.sub(r"\\[{}]", "", text.replace(r"\\", ""))
    depth = np.cumsum([{"{": 1, "}": -1}.get(character, 0) for character in plain])
    assert depth.min() == depth[-1] == 0
    body = [line for line in text.splitlines() if line.endswith(r" \\") and not line.startswith(r"\multicolumn")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {2}
    assert len(body) == 1 + 2 * 5
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert text.count(r"\textbf{") == 4
    assert text.count(r"\rlap{$^{=}$}") == 4
    assert r"\caption{Means over 24 clips with half of their 95 \% intervals" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs TeX with booktabs")
def test_latex_compiles(table, tmp_path):
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"
    (tmp_path / "table.tex").write_text(document % latex_table(select(table, AREAS)))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)


def test_special_characters_are_escaped():
    assert latex_text(STRANGE) == (
        r"L2I\_50\% \& \{co\} \$\textbackslash{}x\textasciicircum{}2\$ \textasciitilde{}\#\textbar{}"
        r"\textless{}b\textgreater{}-{}-{*}"
    )
    assert markdown_text("a\nb | <img src=x> [c](d)") == r"a b \| \<img src=x\> \[c\](d)"


def test_figure_has_every_mean_with_its_interval(table):
    figure = paper_figure(select(table, AREAS, PaperOptions(conditions=["clean", "white_noise"])))
    assert figure.get_size_inches()[0] == 7
    panels = figure.axes
    assert [panel.get_title() for panel in panels] == ["AD (%) ←", "FF →"] * 2
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == [
        "good",
        STRANGE,
        "bad",
        "random",
        "loudest",
    ]
    seen, heard = panels[0].containers
    cells = table.estimates[Block("clean", "0.2", "heard")]["AD"]
    assert heard.lines[0].get_xdata().tolist() == [
        cells[row].mean for row in ("good", STRANGE, "bad", "random", "loudest")
    ]
    (bars,) = heard.lines[2]
    assert bars.get_segments()[0][:, 0].tolist() == pytest.approx([cells["good"].low, cells["good"].high])
    assert seen.lines[0].get_markerfacecolor() == "white"  # domains differ without colour


def test_vector_files_have_fonts_that_can_be_edited_and_equal_bytes(table, tmp_path):
    paper = select(table, AREAS, PaperOptions(domains=["heard"], scores=["AD"]))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths = write_paper(tmp_path / folder, paper, ["pdf", "svg"])
    assert [path.name for path in paths] == [
        "paper_table.tex",
        "paper_table.md",
        "paper_figure.pdf",
        "paper_figure.svg",
    ]
    for name in ("paper_figure.pdf", "paper_figure.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert b"/Subtype /Type3" not in (tmp_path / "a" / "paper_figure.pdf").read_bytes()
    assert "good</text>" in (tmp_path / "a" / "paper_figure.svg").read_text()
