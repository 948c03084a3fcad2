"""LaTeX tables as papers print them: booktabs, every text escaped."""

from collections.abc import Sequence

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def latex_escape(text: str) -> str:
    """Return text that LaTeX prints as it stands."""
    return "".join(_ESCAPES.get(mark, mark) for mark in text)


def latex_table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], rule_before: int | None = None
) -> str:
    r"""Return a table whose first column is of names and whose others are centred.

    The document needs `\usepackage{booktabs}`.

    Args:
        caption: LaTeX.
        heads: LaTeX of the columns' heads.
        rows: LaTeX of the cells, as many in each row as there are heads.
        rule_before: Number of the row that a rule is drawn above.
    """
    lines = [rf"    {' & '.join(cells)} \\" for cells in rows]
    if rule_before is not None:
        lines.insert(rule_before, r"    \midrule")
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{caption}}}",
            rf"  \begin{{tabular}}{{l{'c' * (len(heads) - 1)}}}",
            r"    \toprule",
            rf"    {' & '.join(heads)} \\",
            r"    \midrule",
            *lines,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
