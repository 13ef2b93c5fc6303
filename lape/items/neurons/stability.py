"""How stable the neurons are: intervals of their number, split halves, tokens needed, and languages left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError
from lape.items.layout import Section, rounded
from lape.items.neurons.counts import blocks
from lape.neurons.agreement import ALL, jaccard
from lape.neurons.convergence import STABLE, band, count_interval, curve, tokens_needed
from lape.neurons.stability import PARTS

_NEEDED = f"tokens for {STABLE:.0%}"


@dataclass(frozen=True)
class _Artifact:
    """A stability header, and its parts by name."""

    header: dict
    parts: dict[str, pd.DataFrame]

    @property
    def names(self) -> dict[str, str]:
        """The columns that open every table."""
        return {"model": self.header["model"], "method": self.header["method"]}

    @property
    def shard_tokens(self) -> dict[str, float]:
        """Language -> mean number of tokens in its shards."""
        return {language: float(np.mean(tokens)) for language, tokens in self.header["shards"].items()}


def data(header: str | Path) -> list[Path]:
    """The parts beside a stability header."""
    return [Path(header).with_suffix(f".{part}.tsv") for part in PARTS]


def stability(paths: Sequence[str | Path]) -> pd.DataFrame:
    """How stable the neurons of every language are.

    Args:
        paths: stability headers, one for a model and method, each with its parts beside it.

    Returns:
        one row per model and method for all languages together (`ALL`), and one for each language. Columns:
        - model, method, language, neurons;
        - low and high (95% interval of the number of neurons, from the bootstrap over shards);
        - jaccard, jaccard_low and jaccard_high (mean, 2.5% and 97.5% percentile over splits of the shards in halves);
        - stable (share of the neurons that at least 95% of the resamples select);
        - tokens (counted per language);
        - tokens_needed (per language, for 95% of the set to be found again from as many other tokens; empty where that
          cannot be said) and extrapolated (whether tokens_needed lies beyond the tokens that were tried).

    Raises:
        LapeError: a model and method come twice, or a part is missing or changed.
    """
    rows = []
    for artifact in _read(paths):
        header, resamples, splits = artifact.header, artifact.parts["resamples"], artifact.parts["splits"]
        curves = curve(splits, artifact.shard_tokens)
        halves = splits[splits["shards"] == splits["shards"].max()]
        tokens = {language: sum(sizes) for language, sizes in header["shards"].items()}
        for language in [ALL, *header["languages"]]:
            half = halves[halves["language"] == language]
            measured = curves[(curves["language"] == language) & ~curves["extrapolated"]]
            needed, extrapolated = tokens_needed(measured["tokens"], measured["overlap"])
            low, high = count_interval(resamples.loc[resamples["language"] == language, "neurons"])
            middle = band(jaccard(half["first"], half["second"], half["shared"]))
            rows.append(
                {
                    **artifact.names,
                    "language": language,
                    "neurons": header["selected"] if language == ALL else header["counts"][language],
                    "low": low,
                    "high": high,
                    **dict(zip(("jaccard", "jaccard_low", "jaccard_high"), middle, strict=True)),
                    "stable": _stable(artifact.parts["frequency"], language),
                    "tokens": round(np.mean(list(tokens.values()))) if language == ALL else tokens[language],
                    "tokens_needed": needed if np.isnan(needed) else round(needed),
                    "extrapolated": extrapolated,
                }
            )
    return pd.DataFrame(rows).astype({"tokens_needed": "Int64"})


def stability_curve(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The share of the neurons that is found again from as many other tokens, against the number of tokens.

    Args:
        paths: see `stability`.

    Returns:
        the columns model and method, and those of `lape.neurons.convergence.curve`.

    Raises:
        LapeError: see `stability`.
    """
    frames = [(a.names, curve(a.parts["splits"], a.shard_tokens)) for a in _read(paths)]
    return pd.concat([frame.assign(**names)[[*names, *frame.columns]] for names, frame in frames], ignore_index=True)


def left_out(paths: Sequence[str | Path]) -> pd.DataFrame:
    """What becomes of every language's neurons when another language is left out of the comparison.

    Args:
        paths: see `stability`.

    Returns:
        one row per model, method, left-out language and other language. Columns: model, method, left_out, language,
        before, after, kept and jaccard (of the sets before and after).

    Raises:
        LapeError: see `stability`; or there are only two languages, of which none can be left out.
    """
    frames = []
    for artifact in _read(paths):
        frame = artifact.parts["left_out"]
        if frame.empty:
            raise LapeError(
                f"stability of {artifact.header['model']}: of two languages none can be left out; name three or more"
            )
        frame = frame.assign(jaccard=jaccard(frame["before"], frame["after"], frame["kept"]), **artifact.names)
        frames.append(frame[[*artifact.names, *frame.columns.drop(list(artifact.names))]])
    return pd.concat(frames, ignore_index=True)


def stability_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model a table with one row per language."""
    sections = []
    for title, block in blocks(frame):
        block = block.set_index("language")
        cells = pd.DataFrame(
            {
                "neurons": block["neurons"].map("{:,}".format),
                "95% interval": [f"{row.low:,}\N{EN DASH}{row.high:,}" for row in block.itertuples()],
                "split-half Jaccard": [
                    _with_band(row.jaccard, row.jaccard_low, row.jaccard_high) for row in block.itertuples()
                ],
                f"in {STABLE:.0%} of resamples": block["stable"].map(
                    lambda share: "" if pd.isna(share) else f"{share:.0%}"
                ),
                "tokens": block["tokens"].map("{:,}".format),
                _NEEDED: [_needed(row.tokens_needed, row.extrapolated) for row in block.itertuples()],
            }
        )
        sections.append(Section(f"{title}: how sure the neurons are", "language", cells))
    return sections


def curve_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: numbers of shards with their mean tokens down, languages across; the share with its band in a cell."""
    sections = []
    for title, block in blocks(frame):
        languages = block["language"].unique()
        measured = block[~block["extrapolated"]]
        measured = measured.assign(cell=[_with_band(row.overlap, row.low, row.high) for row in measured.itertuples()])
        cells = measured.pivot(index="shards", columns="language", values="cell")[languages]
        mean = measured[measured["language"] == ALL].set_index("shards")["tokens"]
        cells.index = [f"{shards:.0f} ({mean[shards]:,.0f} tokens)" for shards in cells.index]
        sections.append(Section(f"{title}: share of the neurons found again from other tokens", "shards", cells))
    return sections


def left_out_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: left-out languages down and the others across, with the neurons kept and with the Jaccard index."""
    sections = []
    for title, block in blocks(frame):
        kept = [f"{row.kept:,} of {row.before:,}" for row in block.itertuples()]
        index = ["" if np.isnan(value) else rounded(value) for value in block["jaccard"]]
        for what, text in (("neurons kept, of those before", kept), ("Jaccard index of before and after", index)):
            cells = block.assign(text=text).pivot(index="left_out", columns="language", values="text")
            cells = cells.loc[block["left_out"].unique(), [ALL, *block["left_out"].unique()]].fillna("")
            sections.append(Section(f"{title}: {what}, row left out, column remaining", "left out", cells))
    return sections


def _read(paths: Sequence[str | Path]) -> Iterator[_Artifact]:
    """Read stability artifacts, one for a model and method."""
    seen = set()
    for path in paths:
        header = read_json(path, "stability")
        key = header["model"], header["method"]
        if key in seen:
            raise LapeError(f"{path}: a second one of {' '.join(key)}; pass each stability header once")
        seen.add(key)
        parts = {}
        for part, file in zip(PARTS, data(path), strict=True):
            checked(path, header, f".{part}.tsv")
            try:
                # Languages such as "no" and "nan" are text. A neuron of no language has an empty text, which is not a
                # missing value.
                text = dict.fromkeys(("language", "left_out", "languages"), str)
                parts[part] = pd.read_csv(file, sep="\t", keep_default_na=False, dtype=text)
            except (OSError, ValueError) as error:
                raise LapeError(f"{file}: is not a table ({error}); run `lape stability` again") from error
        yield _Artifact(header, parts)


def _stable(frequency: pd.DataFrame, language: str) -> float:
    """Share of the neurons of a language that at least 95% of the resamples select for it; NaN without neurons."""
    if language == ALL:
        own, often = frequency["languages"] != "", frequency["frequency"]
    else:
        own = [language in owners.split(",") for owners in frequency["languages"]]
        often = frequency[f"frequency_{language}"]
    return float((often[own] >= STABLE).mean())


def _with_band(middle: float, low: float, high: float) -> str:
    return "" if np.isnan(middle) else f"{rounded(middle)} ({rounded(low)}\N{EN DASH}{rounded(high)})"


def _needed(tokens: int, extrapolated: bool) -> str:
    if pd.isna(tokens):
        return "unknown"
    return f"about {float(f'{tokens:.2g}'):,.0f}, extrapolated" if extrapolated else f"{tokens:,}"
