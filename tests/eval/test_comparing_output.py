"""A comparison's tables, files and page show the same figures, and every name and text as what it is."""

import base64
import csv
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from modernir.eval.comparing.comparison import ComparedSet, Comparison, compare
from modernir.eval.comparing.export import COLUMNS, to_csv, to_latex
from modernir.eval.comparing.figures import scatter
from modernir.eval.comparing.page import page
from modernir.eval.comparing.terminal import show_comparison
from modernir.eval.latex import latex_escape

VOID = {"meta", "line", "rect", "br"}
NASTY = '<script>alert("x")</script> & [bold]more[/]'


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    rng = np.random.default_rng(2)
    base = rng.beta(0.6, 0.6, 60).round(2)
    better = np.clip(base + 0.3, 0, 1)
    names = tuple(f"q{n}" for n in range(60))
    first = ComparedSet("first", "test", names, np.array([base, better, base]), dict.fromkeys(names, NASTY))
    second = ComparedSet("sec_ond", "dev", names[:30], np.array([base, better, base])[:, :30])
    return compare("nDCG@10", ["base_line", NASTY, "same 100%"], [first, second], top=4)


class Page(HTMLParser):
    """What a page consists of: elements, their attributes, text by the element around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))


def test_the_csv_holds_every_figure(comparison: Comparison) -> None:
    rows = list(csv.DictReader(StringIO(to_csv(comparison))))
    assert (len(rows), tuple(rows[0])) == (9, COLUMNS)
    assert [rows[n]["difference"] for n in (0, 3, 6)] == ["", "", ""]
    second = rows[1]
    expected = comparison.rows[0].differences[0]
    assert (second["system"], second["baseline"]) == (NASTY, "base_line")
    assert float(second["mean"]) == comparison.rows[0].means[1]
    assert float(second["corrected_t"]) == expected.corrected_t
    assert (float(second["difference_low"]), float(second["difference_high"])) == expected.interval
    assert (int(second["wins"]), int(second["losses"])) == (expected.wins, expected.losses)


def test_latex_marks_the_best_and_the_significant(comparison: Comparison) -> None:
    lines = [line.strip() for line in to_latex(comparison).splitlines()]
    better = next(line for line in lines if line.startswith(r"\textless{}script"))
    assert len(re.findall(r"& \\textbf\{0\.\d{3}\}\$\^\{\\dagger\}\$", better)) == 3
    same = next(line for line in lines if line.startswith(r"same 100\% &"))
    assert "dagger" not in same and "textbf" not in same
    assert r"& first (test) & sec\_ond (dev) & mean of 2 sets \\" in lines
    assert r"\begin{tabular}{lccc}" in lines
    assert latex_escape("\\{a}_~^#") == r"\textbackslash{}\{a\}\_\textasciitilde{}\textasciicircum{}\#"


def test_the_page_asks_nothing_of_anyone_and_takes_no_text_for_markup(comparison: Comparison) -> None:
    text = page(comparison)
    found = Page(text)
    assert found.open == []
    assert found.tags["script"] == found.tags["style"] == 1
    assert not {"link", "img", "iframe", "a", "bold"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name in ("src", "href", "style") or name.startswith("on")]
    policy = next(value for _, value in found.attributes if value and value.startswith("default-src 'none'"))
    for tag in ("style", "script"):
        content = text.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
        checksum = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{checksum}'" in policy
    cells = [data for tag, data in found.texts if tag == "td"]
    assert cells.count(NASTY) == 3 + 4  # the system in its rows, the text of the four largest changes' queries at most
    for row in comparison.rows:
        assert all(f"{mean:.4f}" in cells for mean in row.means)


def test_every_query_is_in_the_scatter_plot_at_its_scores(comparison: Comparison) -> None:
    one = comparison.sets[1]
    points = re.findall(
        r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+"><title>([^<]+)', scatter(comparison, one, 1)
    )
    shown = []
    for kind, x, y, title in points:
        scores, *names = title.split("\n")
        before, after = map(float, scores.split(" → "))
        assert kind == ("win" if after > before else "loss" if after < before else "tie")
        assert (float(x), float(y)) == (
            pytest.approx(42 + before * 264, abs=0.1),
            pytest.approx(284 - after * 270, abs=0.1),
        )
        hidden = [int(name.split()[1]) for name in names if name.startswith("and ")]
        shown += [name for name in names if not name.startswith("and ")]
        for query in names[: len(names) - len(hidden)]:
            place = one.queries.index(query)
            assert (one.scores[0, place], one.scores[1, place]) == (pytest.approx(before), pytest.approx(after))
        shown += ["hidden"] * sum(hidden)
    assert len(shown) == 30


def test_the_terminal_shows_names_and_texts_as_they_are(comparison: Comparison) -> None:
    console = Console(file=StringIO(), width=160)
    show_comparison(comparison, console)
    shown = console.file.getvalue()
    assert f"  {NASTY}" in shown
    assert "†" in shown and "[bold]more[/]" in shown
    assert f"{comparison.rows[0].differences[0].wins}/" in shown
    assert "from base_line to same 100%" not in shown  # no query of it changed
    narrow = Console(file=StringIO(), width=80)
    show_comparison(comparison, narrow)
    assert "…" not in narrow.file.getvalue().split("queries that")[0]
