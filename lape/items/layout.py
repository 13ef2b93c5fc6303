"""Tables for people: Markdown and LaTeX (booktabs)."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

_MINUS = "\N{MINUS SIGN}"
_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        _MINUS: "$-$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


@dataclass(frozen=True)
class Section:
    """One table on the page.

    Attributes:
        title: what the numbers are, with the model and the unit.
        corner: what the first column names.
        cells: formatted text; the index and the columns are printed as labels.
        prose: whether the cells hold running text of a model or a user, in which nothing is markup.
    """

    title: str
    corner: str
    cells: pd.DataFrame
    prose: bool = False


def rounded(value: float) -> str:
    """A number as text: two decimals below 10, three digits from 10 on, an exponent from 10,000 on."""
    size = abs(value)
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    text = f"{size:.{decimals}f}" if size < 9999.5 else f"{size:.1e}".replace("e+0", "e").replace("e+", "e")
    return _MINUS + text if value < 0 and float(text) else text


def with_interval(value: float, low: float, high: float, missing: str = "") -> str:
    """A value with its interval, such as "1.00 [0.50, 2.00]".

    Without bounds the text is the value alone; without a value it is `missing`.
    """
    text = missing if pd.isna(value) else rounded(value)
    return text if pd.isna(low) else f"{text} [{rounded(low)}, {rounded(high)}]"


def markdown(sections: Sequence[Section]) -> str:
    """Pipe tables, each under its title."""
    return "\n".join(f"## {section.title}\n\n{_pipe(section)}\n" for section in sections)


def latex(sections: Sequence[Section], item: str) -> str:
    """Table environments for `\\input`, labelled `tab:<item>-<number>`; they need the booktabs package.

    Running text may be in any script and needs XeLaTeX or LuaLaTeX.
    """
    tables = [_environment(section, f"tab:{item}-{number}") for number, section in enumerate(sections, start=1)]
    return "% \\usepackage{booktabs}\n" + "\n".join(tables)


def _pipe(section: Section) -> str:
    headers = [section.corner, *section.cells.columns]
    if section.prose:
        # Columns are not aligned here, because one long answer would pad every cell to its length.
        rows = [headers, ["---"] * len(headers), *([_verbatim(cell) for cell in row] for row in _rows(section))]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    alignment = ["left"] + ["right"] * section.cells.shape[1]
    return tabulate(_rows(section), headers, tablefmt="pipe", disable_numparse=True, colalign=alignment)


def _verbatim(text: str) -> str:
    """Text in a cell of a pipe table that shows every character as it is."""
    escaped = re.sub(r"[\\`*_\[\]~$]", r"\\\g<0>", html.escape(text, quote=False))
    return escaped.replace("|", "&#124;").replace("\n", "<br>")


def _environment(section: Section, label: str) -> str:
    escapes = _ESCAPES | {ord("\n"): r"\newline "} if section.prose else _ESCAPES
    columns = "l" + "r" * section.cells.shape[1]
    if section.prose:
        columns = r"p{0.18\linewidth}" + r"p{0.75\linewidth}" * section.cells.shape[1]
    lines = [
        " & ".join(str(cell).translate(escapes) for cell in row) + r" \\"
        for row in [[section.corner, *section.cells.columns], *_rows(section)]
    ]
    return "\n".join(
        [
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{section.title.translate(_ESCAPES)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _rows(section: Section) -> list[list[str]]:
    return [[label, *row] for label, row in zip(section.cells.index, section.cells.to_numpy(), strict=True)]
