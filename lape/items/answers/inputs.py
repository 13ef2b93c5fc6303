"""Scored answers, read for the tables, and the intervals of their means. The questions are the sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, sha256
from lape.errors import LapeError
from lape.evaluation import uncertainty
from lape.evaluation.confusion import RATES, harmonic_mean, has_another_script, passes
from lape.evaluation.judging.judge import read_judgements
from lape.generation.answers import KEYS, read_scores
from lape.text.identification import COMPARED, FURTHER, SHORT, UNKNOWN
from lape.text.language_codes import base_language

ARTIFACTS = ("scores", "judgements")
TRANSLATION = "translation-"  # The names of the prompts that ask for translations begin with it.

# Identifier of languages -> its metric. Answers have those of the identifiers that they were scored by.
ACCURACIES = {"langdetect": "language_accuracy"} | {name: f"{name}_accuracy" for name in ("lingua", *FURTHER)}
BY_LINE, BY_WORD, CONFUSION = RATES
# Measure of an answer -> what titles call it. `CONFUSION` is of answers together.
METRICS = {
    "language_accuracy": "language accuracy (langdetect)",
    "lingua_accuracy": "language accuracy (lingua)",
    "fasttext_accuracy": "language accuracy (fastText)",
    "heliport_accuracy": "language accuracy (HeLI-OTS)",
    BY_LINE: "line-level pass rate, share of answers with every line in the language (fastText)",
    BY_WORD: "word-level pass rate, share of those answers without a Latin word (languages of other scripts)",
    CONFUSION: "language confusion pass rate, harmonic mean of the line-level and the word-level pass rate",
    "short": "share of answers too short to identify",
    "disagreement": "share of identified answers on which langdetect and lingua differ",
    "nll": "fluency, mean NLL of the answer under the unmodified model (nats per token)",
    "distinct_2": "distinct-2 of an answer's tokens",
    "chrf": "chrF against the normal answer",
    "bleu": "BLEU against the normal answer",
    "content_quality": "content quality (judge, 1 to 10)",
}
# The metrics that are 0 or 1 for each answer.
PROPORTIONS = (*ACCURACIES.values(), BY_LINE, BY_WORD, "short", "disagreement", "other_language")

_TAIL = 0.025  # probability outside a 95% interval on either side
Pair = tuple[str, str]


@dataclass(frozen=True)
class Answers:
    """The scores of one model's answers in one setting.

    Attributes:
        path: the scores header.
        header: the content of the scores header.
        judged: the header of the judgements of the same answers; None where they were not judged.
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
        """Whether the setting belongs to a sweep of doses, and is not an experiment's own."""
        return "@" in self.setting

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per answer: the columns of the scores and, where the answers were judged, the column `rating`."""
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
        """The answers to the questions in one language, and whether they are in a wanted language.

        Args:
            pair: (question's language, wanted language). Where no answer was steered towards the wanted language, the
                answers that were meant to be in the question's language are taken.

        Returns:
            rows of `blocks` with a column for each of `METRICS`. A value is NaN where an answer has none, or where an
            identifier does not know the wanted language.

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
            for name, accuracy in ACCURACIES.items()
        }
        confused = passes(rows, wanted) if known.get(BY_LINE) is not None else (np.nan, np.nan)
        # Two identifiers can only disagree on an answer that both identify.
        both = ~rows[list(COMPARED)].isin([SHORT, UNKNOWN]).any(axis=1)
        both &= all(known.get(ACCURACIES[name]) is not None for name in COMPARED)
        return rows.assign(
            **hits,
            **dict(zip(RATES, (*confused, np.nan), strict=True)),
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
        model, prompt: the model and the prompt that the settings share.
        languages: languages of the questions, in the model's order.
        settings: setting -> its answers.
        numbers: numbers of the questions, ascending.
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
        """The metrics of `METRICS` that the answers have.

        Content quality is among them where there are judgements, the accuracy by an identifier where it was asked, and
        what is told by Latin words where a language has another script.
        """
        judged = any(answers.judged is not None for answers in self.settings.values())
        asked = {name for answers in self.settings.values() for row in answers.header["rows"] for name in row}
        lacking = {ACCURACIES[name] for name in FURTHER} - asked
        if not any(map(has_another_script, self.languages)):
            lacking |= {BY_WORD, CONFUSION}
        return [name for name in METRICS if name not in lacking and (name != "content_quality" or judged)]

    def setting(self, name: str) -> Answers:
        """The answers in one setting.

        Raises:
            LapeError: the setting is not among the inputs.
        """
        if name not in self.settings:
            raise LapeError(
                f"scores of {self.model}, {self.prompt}, {name}: missing; run `lape score` for that setting"
            )
        return self.settings[name]

    def measure(self, setting: str, pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
        """All metrics of the answers in one setting.

        Args:
            setting: the name of the setting.
            pairs: (question's language, wanted language) of K blocks of answers, as for `Answers.block`.

        Returns:
            metric -> float64 [K, N], with the questions in the order of `numbers`. A value is NaN where there is no
            answer, or where the answer has no value.

        Raises:
            LapeError: the setting or a block is missing.
        """
        answers = self.setting(setting)
        blocks = [answers.block(pair).reindex(self.numbers) for pair in pairs]
        return {name: np.array([block[name] for block in blocks], dtype=float) for name in self.metrics}


class Resampling:
    """95% intervals by drawing questions with replacement, with the same draw for all settings and languages.

    Answers to the same question in two languages are not independent samples. A question is therefore drawn with all
    its answers, in every language and setting, so that differences are paired.

    Args:
        questions: the number N of questions.
        resamples: the number B of draws.
        seed: seed of the draws.

    Raises:
        LapeError: the number of resamples is below 1, or the seed is negative.
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
        """The interval of `mean`: expanded percentiles of the bootstrap over questions (Hesterberg 2015, section 3.3).

        Plain percentiles are too narrow for few questions: with 20 questions they cover 89 to 92%. Expanded percentiles
        are taken at levels that make the interval as wide as Student's.

        Args:
            values: [K, N], as for `mean`.

        Returns:
            lower and upper bound; NaN where fewer than `uncertainty.MINIMUM_CHUNKS` questions have a value.
        """
        there = ~np.isnan(values)
        # einsum adds in one order whatever the number of threads, unlike a matrix product.
        sums = np.einsum("bn,kn->bk", self._counts, np.where(there, values, 0.0))
        sizes = np.einsum("bn,kn->bk", self._counts, there.astype(float))
        with np.errstate(invalid="ignore"):  # a draw may hold no value at all
            means = (sums / np.maximum(sizes, 1)).sum(axis=1) / (sizes > 0).sum(axis=1)
        return percentiles(means, int(there.any(axis=0).sum()))

    def sums(self, counts: np.ndarray) -> np.ndarray:
        """Sums [B, S] over the questions of every draw, from the counts [N, S] that each question adds to a score."""
        return np.einsum("bn,ns->bs", self._counts, counts)

    def harmonic(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The harmonic mean of the means of two measures.

        Args:
            first, second: [K, N], as for `mean`. A mean without values counts as 0.

        Returns:
            float64 [K] of every block, and [B, K] of every draw.
        """
        both = [first, second]
        # Sums and numbers over the questions, [N, 4 K].
        columns = [np.nan_to_num(values) for values in both] + [(~np.isnan(values)).astype(float) for values in both]

        def means(sums: np.ndarray) -> np.ndarray:
            ones, others, counts, numbers = np.split(sums, 4, axis=1)
            return harmonic_mean(ones / np.maximum(counts, 1), others / np.maximum(numbers, 1))

        counts = np.concatenate(columns)
        return means(counts.sum(axis=1)[None])[0], means(self.sums(counts.T))

    def proportion_interval(self, values: np.ndarray) -> tuple[float, float]:
        """The interval of the mean of values that are 0 or 1.

        A single block is a sample of a proportion. Its interval is Wilson's score interval, which has a width even
        where all values are equal. The mean over several blocks has the bootstrap's interval. Where all values are
        equal, it has Wilson's for as many answers as there are questions, since answers to one question are dependent.

        Args:
            values: [K, N], as for `mean`.

        Returns:
            lower and upper bound; NaN without values.
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
    """Expanded percentiles, as in `Resampling.interval`, of a statistic that every draw gives.

    Args:
        drawn: [B], the statistic of each draw; NaN where a draw has none.
        questions: the number of questions.

    Returns:
        lower and upper bound; NaN with fewer than `uncertainty.MINIMUM_CHUNKS` questions.
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
        values: [K, N]; NaN where there is no value. A block without any value is left out.

    Returns:
        the mean; NaN without values.
    """
    there = ~np.isnan(values)
    sizes = there.sum(axis=1)
    sums = np.where(there, values, 0.0).sum(axis=1)[sizes > 0]
    return float((sums / sizes[sizes > 0]).mean()) if len(sums) else np.nan


def contributions(values: np.ndarray) -> np.ndarray:
    """The addend [N] of every question in `mean`."""
    there = ~np.isnan(values)
    sizes = there.sum(axis=1, keepdims=True)
    blocks = max(int((sizes > 0).sum()), 1)
    return (np.where(there, values, 0.0) / np.maximum(sizes, 1)).sum(axis=0) / blocks


def data(header: str | Path) -> list[Path]:
    """The TSV beside a scores or judgements header."""
    return [Path(header).with_suffix(".tsv")]


def generations(header: dict) -> dict[str, str]:
    """The path and the SHA-256 of the scored or judged answers, from the inputs that the header records."""
    name = f"{header['setting']}.jsonl"
    return {path: digest for path, digest in header["inputs"].items() if Path(path).name == name}


def generations_header(answers: Answers) -> Path:
    """The header of the answers that were scored, after a check that the answers have not changed since.

    Raises:
        LapeError: the answers have changed, or the scores header names none.
    """
    for path, digest in generations(answers.header).items():
        if sha256(path) != digest:
            raise LapeError(f"{path}: is not what {answers.path} scored; run `lape score` again")
        return Path(path).with_suffix(".json")
    raise LapeError(f"{answers.path}: does not name the answers that it scores; run `lape score` again")


def load(paths: Iterable[str | Path]) -> list[Group]:
    """Read scores headers, and judgements headers of the same settings, in any order.

    Returns:
        one group per model and prompt, in the order in which they first come.

    Raises:
        LapeError: a header is of neither kind, a setting comes twice or is judged but not scored, or the settings of a
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
            # The texts to translate may differ by target language. The questions of a language are the same ones
            # whichever language is wanted.
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
    """The table beside a scores header, after a check that no answer comes twice."""
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
