"""Tables for people: Markdown, HTML and LaTeX (booktabs)."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

_MINUS = "\N{MINUS SIGN}"
# A hyphen before a number that begins there.
_NEGATIVE = re.compile(r"(?<![\w.])-(?=\d)")
# In text LaTeX prints "<" as an inverted exclamation mark, and cannot print control characters.
_ESCAPES = str.maketrans(
    {
        **{chr(code): " " for code in (*range(32), 127)},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"${sign}$" for sign in "<>|"},
        _MINUS: "$-$",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)
# In points: a letter of the font of size \small, the space between two columns, a line, and the text of a usual
# two-column page. A table that is wider than a column goes over both, and one larger than the page is scaled.
_LETTER, _GAP, _LINE = 4.6, 12, 11
_COLUMN, _WIDTH, _HEIGHT = 240, 500, 600


# Of a page of tables.
_STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff}
h1 {font-size: 1.3em} h2 {font-size: 1em; margin: 1.6em 0 .4em; max-width: 60em}
table {border-collapse: collapse}
th, td {padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap}
th {font-weight: 600} th:first-child {text-align: left} tbody tr:hover {background: #f3f3f3}
.prose td, .prose th {text-align: left; vertical-align: top; white-space: pre-line; unicode-bidi: plaintext}
"""


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


def page(title: str, sections: Sequence[Section]) -> str:
    """An HTML page of tables, each under its title, that needs no other file."""
    name = html.escape(title)
    with pd.option_context("display.max_colwidth", None):
        tables = "\n".join(f"<h2>{html.escape(section.title)}</h2>\n{_table(section)}" for section in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{name}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n{tables}\n</body>\n</html>\n"
    )


def latex(sections: Sequence[Section], item: str) -> dict[str, str]:
    """Table environments for `\\input`: name of a file -> one environment, whose label is `tab:<name>`.

    They need the packages booktabs and graphicx. Running text may be in any script and needs XeLaTeX or LuaLaTeX.
    """
    names = [f"{item}-{number}" for number in range(1, len(sections) + 1)]
    return {f"{name}.tex": _environment(section, f"tab:{name}") for name, section in zip(names, sections, strict=True)}


def _table(section: Section) -> str:
    cells = section.cells.rename_axis(index=None, columns=section.corner)
    return cells.to_html(border=0, classes="prose" if section.prose else None)


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
    escapes = _ESCAPES | {ord("\n"): r"\leavevmode\newline "} if section.prose else _ESCAPES
    columns = "l" + "r" * section.cells.shape[1]
    if section.prose:
        columns = r"p{0.18\linewidth}" + r"p{0.75\linewidth}" * section.cells.shape[1]
    lines = [" & ".join(str(cell).translate(escapes) for cell in row) + r" \\" for row in _lines(section)]
    kind, scale = _fitted(section)
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            rf"\begin{{{kind}}}[tbp]",
            r"\centering\small",
            rf"\caption{{{section.title.translate(_ESCAPES)}}}",
            rf"\label{{{label}}}",
            *([rf"\resizebox*{scale}{{%"] if scale else []),
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}" + "}" * bool(scale),
            rf"\end{{{kind}}}",
            "",
        ]
    )


def _fitted(section: Section) -> tuple[str, str]:
    """The environment that a table fits, and the size that `\\resizebox` scales it to; "" where it is not scaled."""
    if section.prose:
        return "table*", ""
    lines = _lines(section)
    width = sum(max(map(len, map(str, column))) * _LETTER + _GAP for column in zip(*lines, strict=True))
    wide, high = width / _WIDTH, len(lines) * _LINE / _HEIGHT
    scale = r"{\linewidth}{!}" if wide >= high else r"{!}{0.85\textheight}"
    return "table" if width <= _COLUMN else "table*", scale if max(wide, high) > 1 else ""


def _lines(section: Section) -> list[list[str]]:
    """The heads of the columns, and then the rows."""
    return [[section.corner, *section.cells.columns], *_rows(section)]


def _rows(section: Section) -> list[list[str]]:
    rows = [[label, *row] for label, row in zip(section.cells.index, section.cells.to_numpy(), strict=True)]
    return rows if section.prose else [[_NEGATIVE.sub(_MINUS, str(cell)) for cell in row] for row in rows]
