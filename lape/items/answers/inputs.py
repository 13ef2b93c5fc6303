"""Scored answers, read for the tables, and how sure their means are: the questions are the sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, sha256
from lape.errors import LapeError
from lape.evaluation import uncertainty
from lape.evaluation.judging.judge import read_judgements
from lape.generation.answers import KEYS, read_scores
from lape.text.identification import SHORT, UNKNOWN, base_language

ARTIFACTS = ("scores", "judgements")
TRANSLATION = "translation-"  # opens the prompts of translations

# What an answer is measured by, as titles name it.
METRICS = {
    "language_accuracy": "language accuracy (langdetect)",
    "lingua_accuracy": "language accuracy (lingua)",
    "fasttext_accuracy": "language accuracy (fastText)",
    "short": "share of answers too short to identify",
    "disagreement": "share of identified answers on which langdetect and lingua differ",
    "nll": "fluency, mean NLL of the answer under the unmodified model (nats per token)",
    "distinct_2": "distinct-2 of an answer's tokens",
    "chrf": "chrF against the normal answer",
    "bleu": "BLEU against the normal answer",
    "content_quality": "content quality (judge, 1 to 10)",
}
# Those that are 0 or 1 for an answer.
PROPORTIONS = ("language_accuracy", "lingua_accuracy", "fasttext_accuracy", "short", "disagreement")

# The metric of each identifier; fastText is there where its model was given.
_ACCURACIES = {"langdetect": "language_accuracy", "lingua": "lingua_accuracy", "fasttext": "fasttext_accuracy"}
_COMPARED = ("langdetect", "lingua")
_TAIL = 0.025  # on either side of an interval
Pair = tuple[str, str]


@dataclass(frozen=True)
class Answers:
    """The scores of one model's answers in one setting.

    Attributes:
        path: of the scores header.
        header: its content.
        judged: header of the judgements of the same answers; None where there are none.
    """

    path: Path
    header: dict
    judged: Path | None

    @property
    def setting(self) -> str:
        return self.header["setting"]

    @property
    def kind(self) -> str:
        return self.header["kind"]

    @property
    def dosed(self) -> bool:
        """Whether the setting is one of a sweep, and not an experiment's own."""
        return "@" in self.setting

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row an answer, as the scores have it; `rating` beside it where it was judged and rated."""
        frame = _read(self.path, self.header)
        if self.judged is None:
            return frame.assign(rating=np.nan)
        header = read_json(self.judged, "judgements")
        ratings = read_judgements(checked(self.judged, header, ".tsv")).set_index(list(KEYS))["rating"]
        keys = frame[list(KEYS)].itertuples(index=False, name=None)
        same = len(ratings) == len(frame) and set(ratings.index) == set(keys)
        if not same or list(generations(header).values()) != list(generations(self.header).values()):
            raise LapeError(f"{self.judged}: judges other answers than {self.path} scores; run `lape judge` again")
        return frame.join(ratings, on=list(KEYS))

    @cached_property
    def blocks(self) -> dict[Pair, pd.DataFrame]:
        """(question's language, target) -> the rows of `frame`, indexed by number in ascending order."""
        groups = self.frame.groupby(["language", "target"], sort=False)
        return {pair: rows.set_index("number").sort_index() for pair, rows in groups}

    def block(self, pair: Pair) -> pd.DataFrame:
        """The answers to the questions of one language, and whether they are in one language.

        Args:
            pair: (question's language, wanted language). Where no answer was steered towards that language, those to
                the question in its own are measured by it.

        Returns:
            Rows of `blocks` with a column for each of `METRICS`; NaN where an answer has no value or an identifier does
            not know the language.

        Raises:
            LapeError: there are no such answers.
        """
        language, wanted = pair
        own = (language, language) if pair not in self.blocks else pair
        if own not in self.blocks:
            raise LapeError(f"{self}: no answer to {language} in {wanted}; run `lape generate` for all languages")
        rows = self.blocks[own]
        known = {row["target"]: row for row in self.header["rows"]}.get(wanted, {})
        hits = {
            accuracy: (rows[name] == base_language(wanted)).astype(float) if known.get(accuracy) is not None else np.nan
            for name, accuracy in _ACCURACIES.items()
        }
        # Identifiers differ on an answer that both identify, where both could have told the language.
        both = ~rows[list(_COMPARED)].isin([SHORT, UNKNOWN]).any(axis=1)
        both &= all(known.get(_ACCURACIES[name]) is not None for name in _COMPARED)
        return rows.assign(
            **hits,
            short=(rows["langdetect"] == SHORT).astype(float),
            disagreement=(rows["langdetect"] != rows["lingua"]).astype(float).where(both),
            content_quality=rows["rating"],
        )

    def __str__(self) -> str:
        return f"scores of {self.header['model']}, {self.header['prompt']}, {self.setting}"


@dataclass(frozen=True)
class Group:
    """All settings of one model and prompt.

    Attributes:
        model, prompt: what the settings share.
        languages: of the questions, in the model's order.
        settings: setting -> its answers.
        numbers: of the questions, ascending.
    """

    model: str
    prompt: str
    languages: list[str]
    settings: dict[str, Answers]
    numbers: list[int]

    @property
    def names(self) -> dict[str, str]:
        """The columns that open every table."""
        return {"model": self.model, "prompt": self.prompt}

    @property
    def metrics(self) -> list[str]:
        """Those of `METRICS` that the answers have: content quality only where there are judgements."""
        judged = any(answers.judged is not None for answers in self.settings.values())
        return [name for name in METRICS if name != "content_quality" or judged]

    def setting(self, name: str) -> Answers:
        """The answers in one setting.

        Raises:
            LapeError: they are not among the inputs.
        """
        if name not in self.settings:
            raise LapeError(
                f"scores of {self.model}, {self.prompt}, {name}: missing; run `lape score` for that setting"
            )
        return self.settings[name]

    def measure(self, setting: str, pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
        """All metrics of the answers in one setting.

        Args:
            setting: its name.
            pairs: (question's language, wanted language) of K blocks of answers, as for `Answers.block`.

        Returns:
            Metric -> float64 [K, N], the questions in the order of `numbers`; NaN where there is no answer or it has no
            value.

        Raises:
            LapeError: the setting or a block is missing.
        """
        answers = self.setting(setting)
        blocks = [answers.block(pair).reindex(self.numbers) for pair in pairs]
        return {name: np.array([block[name] for block in blocks], dtype=float) for name in self.metrics}


class Resampling:
    """95% intervals by drawing questions with replacement, the same draw for all settings and languages.

    An answer to a question in one language is no independent sample beside the answer in another: a question is drawn
    with all its answers, in every language and setting, so that differences pair.

    Args:
        questions: N, how many there are.
        resamples: B, how many draws.
        seed: of the draws.

    Raises:
        LapeError: no resample, or a negative seed.
    """

    def __init__(self, questions: int, resamples: int, seed: int):
        if resamples < 1 or seed < 0:
            raise LapeError(
                f"{resamples} resamples, seed {seed}: give --resamples from 1 and --seed from 0; correct them"
            )
        draws = uncertainty.resamples(questions, resamples, seed)
        # How often each question is drawn, [B, N].
        self._counts = np.zeros(draws.shape)
        np.add.at(self._counts, (np.arange(resamples)[:, None], draws), 1)

    def interval(self, values: np.ndarray) -> tuple[float, float]:
        """Of `mean`: expanded percentiles of the bootstrap over questions (Hesterberg 2015, section 3.3).

        Plain percentiles are too narrow for few questions: with 20 they cover 89 to 92%. These are taken at the levels
        that make them as wide as Student's interval.

        Args:
            values: [K, N], as for `mean`.

        Returns:
            Lower and upper bound; NaN with fewer than `uncertainty.MINIMUM_CHUNKS` questions that have a value.
        """
        there = ~np.isnan(values)
        # einsum adds in one order whatever the number of threads, unlike a matrix product.
        sums = np.einsum("bn,kn->bk", self._counts, np.where(there, values, 0.0))
        sizes = np.einsum("bn,kn->bk", self._counts, there.astype(float))
        with np.errstate(invalid="ignore"):  # a draw may hold no value at all
            means = (sums / np.maximum(sizes, 1)).sum(axis=1) / (sizes > 0).sum(axis=1)
        return percentiles(means, int(there.any(axis=0).sum()))

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """[B, S], over the questions of every draw, of what adds up to a score of all: counts [N, S]."""
        return np.einsum("bn,ns->bs", self._counts, counts)

    def proportion_interval(self, values: np.ndarray) -> tuple[float, float]:
        """Of the mean of values that are 0 or 1.

        A block by itself is a sample of a proportion: Wilson's score interval, which is no point where all values are
        equal. The mean over several blocks has the bootstrap's, and where all values are equal Wilson's for as many
        answers as there are questions, since those to one question hang together.

        Args:
            values: [K, N], as for `mean`.

        Returns:
            Lower and upper bound; NaN without values.
        """
        there = ~np.isnan(values)
        questions = int(there.any(axis=0).sum())
        if not questions:
            return np.nan, np.nan
        share = np.nanmean(values)
        if (there.any(axis=1).sum() > 1) and 0 < share < 1:
            return self.interval(values)
        return uncertainty.share_interval(round(share * questions), questions)

    def bounds(self, metric: str, values: np.ndarray) -> tuple[float, float]:
        """The interval that suits a metric of `METRICS`."""
        return self.proportion_interval(values) if metric in PROPORTIONS else self.interval(values)


def percentiles(drawn: np.ndarray, questions: int) -> tuple[float, float]:
    """Expanded percentiles, as of `Resampling.interval`, of what every draw gives.

    Args:
        drawn: [B]; NaN where a draw gives nothing.
        questions: how many there are.

    Returns:
        Lower and upper bound; NaN with fewer than `uncertainty.MINIMUM_CHUNKS` questions.
    """
    if questions < uncertainty.MINIMUM_CHUNKS:
        return np.nan, np.nan
    from scipy.special import ndtr, stdtrit

    tail = ndtr(np.sqrt(questions / (questions - 1)) * stdtrit(questions - 1, _TAIL))
    low, high = np.nanquantile(drawn, (tail, 1 - tail))
    return float(low), float(high)


def mean(values: np.ndarray) -> float:
    """The mean over blocks of their means over questions.

    Args:
        values: [K, N]; NaN where there is no value. A block without any is left out.

    Returns:
        NaN without values.
    """
    there = ~np.isnan(values)
    sizes = there.sum(axis=1)
    sums = np.where(there, values, 0.0).sum(axis=1)[sizes > 0]
    return float((sums / sizes[sizes > 0]).mean()) if len(sums) else np.nan


def contributions(values: np.ndarray) -> np.ndarray:
    """What every question adds to `mean`, [N]."""
    there = ~np.isnan(values)
    sizes = there.sum(axis=1, keepdims=True)
    blocks = max(int((sizes > 0).sum()), 1)
    return (np.where(there, values, 0.0) / np.maximum(sizes, 1)).sum(axis=0) / blocks


def data(header: str | Path) -> list[Path]:
    """The TSV beside a scores or judgements header."""
    return [Path(header).with_suffix(".tsv")]


def generations(header: dict) -> dict[str, str]:
    """The file of the answers that were scored or judged, as its header names it among the inputs, and its SHA-256."""
    name = f"{header['setting']}.jsonl"
    return {path: digest for path, digest in header["inputs"].items() if Path(path).name == name}


def generations_header(answers: Answers) -> Path:
    """Header of the answers that were scored, once they are seen to be the same.

    Raises:
        LapeError: they are others by now, or the scores name none.
    """
    for path, digest in generations(answers.header).items():
        if sha256(path) != digest:
            raise LapeError(f"{path}: is not what {answers.path} scored; run `lape score` again")
        return Path(path).with_suffix(".json")
    raise LapeError(f"{answers.path}: does not name the answers that it scores; run `lape score` again")


def load(paths: Iterable[str | Path]) -> list[Group]:
    """Read scores headers, and judgements headers of the same settings, in any order.

    Returns:
        A group a model and prompt, in the order in which they first come.

    Raises:
        LapeError: neither kind of header, a setting comes twice or is judged but not scored, or the settings of a
            model and prompt disagree on the languages or the questions.
    """
    found: dict[str, dict[tuple[str, str, str], tuple[Path, dict]]] = {artifact: {} for artifact in ARTIFACTS}
    for path in map(Path, paths):
        header = read_json(path)
        artifact = header.get("artifact")
        if artifact not in ARTIFACTS:
            raise LapeError(f"{path}: is the header of {artifact!r}; pass those of scores and judgements")
        key = header["model"], header["prompt"], header["setting"]
        if key in found[artifact]:
            raise LapeError(f"{path}: a second one of {', '.join(key)}; pass each header of {artifact} once")
        found[artifact][key] = path, header
    scores, judgements = found["scores"], found["judgements"]
    for key, (path, _) in judgements.items():
        if key not in scores:
            raise LapeError(f"{path}: its answers have no scores among the inputs; pass the scores header too")

    groups: dict[tuple[str, str], dict[str, Answers]] = {}
    for key, (path, header) in scores.items():
        answers = Answers(path, header, judgements[key][0] if key in judgements else None)
        groups.setdefault(key[:2], {})[key[2]] = answers
    return [_group(*names, settings) for names, settings in groups.items()]


def _group(model: str, prompt: str, settings: dict[str, Answers]) -> Group:
    first, *others = settings.values()
    questions: dict[tuple[str, ...], tuple[Path, tuple[int, ...]]] = {}
    for answers in (first, *others):
        if answers.header["languages"] != first.header["languages"]:
            raise LapeError(f"{answers.path}: has other languages than {first.path}; score one list of languages")
        for pair, rows in answers.blocks.items():
            # A corpus may have other pairs for another target; a question is asked in its language, whatever is wanted.
            key = pair if prompt.startswith(TRANSLATION) else pair[:1]
            numbers = tuple(rows.index)
            path, same = questions.setdefault(key, (answers.path, numbers))
            if numbers != same:
                which = " in ".join(key)
                raise LapeError(
                    f"{answers.path}: answers other questions of {which} than {path}; generate both on the same"
                )
    numbers = sorted({number for _, own in questions.values() for number in own})
    return Group(model, prompt, first.header["languages"], settings, numbers)


def _read(header_path: Path, header: dict) -> pd.DataFrame:
    """The table beside a scores header, once every answer is seen to come once."""
    path = checked(header_path, header, ".tsv")
    try:
        frame = read_scores(path)
        twice = frame.duplicated(list(KEYS))
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape score` again") from error
    except (ValueError, KeyError) as error:
        raise LapeError(f"{path}: is not a table of scores ({error}); run `lape score` again") from error
    if twice.any():
        row = frame[twice].iloc[0]
        which = f"answer {row['number']} to {row['language']} in {row['target']}"
        raise LapeError(f"{path}: {which} comes twice; run `lape score` again")
    return frame
