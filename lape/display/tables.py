"""A small table under a title, as text and as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lape.display.layers import bars, drawn


@dataclass(frozen=True)
class Table:
    """What a result shows of itself.

    Attributes:
        title: one line.
        columns: the headings; the first is of the rows' names. None where there are no rows.
        rows: one list of cells per row. A cell is text, a number, or an array of one number per layer, which becomes a
            strip.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()

    def __str__(self) -> str:
        lines = [list(self.columns), *([_text(cell) for cell in row] for row in self.rows)] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        numeric = [isinstance(cell, int | float) for cell in self.rows[0]] if self.rows else []
        aligned = (
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            ).rstrip()
            for line in lines
        )
        return "\n".join([self.title, *(f"  {line}" for line in aligned)])

    def html(self) -> str:
        """The table as HTML, with strips as SVG; it needs no script and no style sheet."""
        if not self.rows:
            return f"<p>{escape(self.title)}</p>"
        heading = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows)
        return (
            f"<table><caption>{escape(self.title)}</caption>"
            f"<thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"
        )


class Shown:
    """A result that shows itself by its `shown`, as text and, in a notebook, as HTML."""

    def shown(self) -> Table:
        """What the result shows of itself."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self.shown())

    def _repr_html_(self) -> str:
        return self.shown().html()


def _is_strip(cell: object) -> bool:
    return not isinstance(cell, str | int | float)


def _text(cell: object) -> str:
    if _is_strip(cell):
        return bars(cell)
    return cell if isinstance(cell, str) else f"{cell:,}" if isinstance(cell, int) else f"{cell:.3g}"


def _cell(cell: object) -> str:
    if _is_strip(cell):
        return f'<td style="text-align:left">{drawn(cell)}</td>'
    side = "left" if isinstance(cell, str) else "right"
    return f'<td style="text-align:{side}">{escape(_text(cell))}</td>'
