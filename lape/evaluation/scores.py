"""Scores of answers that need no judge: language, fluency, repetition, likeness to references.

None of them is content quality. Fluency is the NLL of an answer under the unmodified model. It is small for what that
model would say itself. It is small for repetition too, which distinct-n tells. chrF and BLEU tell how much an answer
shares of the wording of its references (see `lape.evaluation.references`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lape.evaluation.confusion import RATES, confusion, rates
from lape.generation.answers import KEYS, MEASURES
from lape.text.identification import (
    COMPARED,
    FURTHER,
    MINIMUM_BYTES,
    SHORT,
    UNKNOWN,
    USUAL,
    count_letters,
    identify,
    known_languages,
)
from lape.text.language_codes import base_language

if TYPE_CHECKING:
    from torch import nn

# Language -> sacrebleu's tokenizer, for languages that put no spaces between words. Other languages have "13a".
_TOKENIZERS = {"zh": "zh"} | dict.fromkeys(("ja", "km", "lo", "my", "th"), "char")


def fluency(
    model: "nn.Module",
    answers: Sequence[Sequence[int]],
    bos: int | None,
    batch_size: int = 16,
    backend: str = "auto",
    longest: int | None = None,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> np.ndarray:
    """Mean NLL of every answer by itself, without the question.

    Args:
        model: a Hugging Face causal LM, unperturbed.
        answers: token ids of each answer.
        bos: id that the first token is predicted from. None: nothing predicts the first token, which is not counted.
        batch_size: answers per forward pass. Answers of similar length share a pass.
        backend: see `chunk_nll`.
        longest: number of positions that the model can read, at which an answer is cut.
        on_batch: called with the number of tokens of each batch, for progress.

    Returns:
        float64 [N], nats per predicted token; NaN for an answer without predicted tokens. The batch that an answer is
        in changes its value by rounding alone.

    Raises:
        LapeError: the likelihood is not finite.
    """
    from lape.evaluation.perplexity import chunk_nll

    texts = [([] if bos is None else [bos]) + list(ids) for ids in answers]
    texts = [text[:longest] for text in texts]
    # The longest answers come first: where memory is too small for them, the run ends at once.
    order = sorted((n for n, text in enumerate(texts) if len(text) > 1), key=lambda n: -len(texts[n]))
    means = np.full(len(texts), np.nan)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        lengths = np.array([len(texts[n]) for n in batch])
        chunks = np.zeros((len(batch), lengths[0]), np.int32)
        for row, n in zip(chunks, batch, strict=True):
            row[: len(texts[n])] = texts[n]
        means[batch] = chunk_nll(model, chunks, batch_size, backend, lengths=lengths) / (lengths - 1)
        on_batch(int(lengths.sum()))
    return means


def distinct(ids: Sequence[int], n: int) -> float:
    """Share of different n-grams among the n-grams of one answer (distinct-n of Li et al. 2016); NaN without any."""
    grams = list(zip(*(ids[start:] for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else np.nan


def bleu_tokenizer(language: str) -> str:
    """The name of the tokenizer by which sacrebleu cuts a language into words."""
    return _TOKENIZERS.get(base_language(language), "13a")


def similarity(answer: str, references: Sequence[str], language: str) -> dict[str, float]:
    """Sentence chrF and BLEU of an answer, 0 to 100; NaN where no reference says anything.

    Args:
        answer: a text.
        references: texts that are equally good. chrF compares with the most similar one, BLEU with the n-grams of all.
        language: the language that the answer should be in.
    """
    references = tuple(filter(None, references))
    if not references:
        return {"chrf": np.nan, "bleu": np.nan}
    # The BLEU of equal texts is 100 but for a rounding error.
    return {
        name: min(metric.corpus_score([answer], None).score, 100.0)
        for name, metric in zip(("chrf", "bleu"), _metrics(bleu_tokenizer(language), references), strict=True)
    }


@lru_cache(32)  # counts the n-grams of many references once, as answers come language by language
def _metrics(tokenizer: str, references: tuple[str, ...]):
    from sacrebleu.metrics import BLEU, CHRF

    documents = [[reference] for reference in references]
    return CHRF(references=documents), BLEU(tokenize=tokenizer, effective_order=True, references=documents)


def score_table(
    answers: Sequence[Mapping],
    references: Sequence[Sequence[str]],
    tokens: Sequence[Sequence[int]],
    nll: np.ndarray,
    minimum_bytes: int = MINIMUM_BYTES,
    further: Sequence[str] = USUAL,
    fasttext: str | Path | None = None,
    on_answer: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """All scores, one row per answer.

    Args:
        answers: rows of a generations artifact.
        references: references of each answer, see `lape.evaluation.references.references`.
        tokens: token ids of each output.
        nll: NLL of each answer, see `fluency`.
        minimum_bytes, further, fasttext: see `lape.text.identification.identify`.
        on_answer: called after each answer, for progress.
    """
    rows = []
    # A text may be there once per target.
    identified = cache(lambda text: identify(text, minimum_bytes, further, fasttext) | confusion(text, fasttext))
    for answer, wanted, ids, value in zip(answers, references, tokens, nll, strict=True):
        output = answer["output"]
        rows.append(
            {key: answer[key] for key in KEYS}
            | identified(output)
            | {"letters": count_letters(output)[0], "tokens": len(ids), "nll": value}
            | {"distinct_1": distinct(ids, 1), "distinct_2": distinct(ids, 2)}
            | similarity(output, wanted, answer["target"])
        )
        on_answer()
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame, further: Mapping[str, Collection[str]] | None = None) -> list[dict]:
    """The fields of a scores header that describe each block of answers.

    Args:
        table: table of `score_table`.
        further: identifier of the table beside langdetect and lingua -> codes that it can tell; None: there is none.

    Returns:
        one mapping per (language, target), in their order. A value is None where an identifier does not know the
        target, or where no answer has the value.

        - answers: number of answers.
        - language_accuracy (langdetect), lingua_accuracy, and fasttext_accuracy and heliport_accuracy where these were
          asked: share of the answers, short ones included, that are in the target.
        - disagreement: share of the answers that langdetect and lingua both identify, to which they give different
          languages.
        - line_pass_rate, word_pass_rate, confusion_pass_rate: see `lape.evaluation.confusion.rates`.
        - short, unknown: share of the answers that are too short, and that langdetect does not identify.
        - each of `MEASURES`: mean over the answers that have it.
    """
    rows, known = [], {name: known_languages(name) for name in COMPARED} | dict(further or {})
    by_line = known.get("fasttext") or known_languages("fasttext")
    for (language, target), block in table.groupby(["language", "target"], sort=False):
        wanted = base_language(target)
        hits = {name: _mean(block[name] == wanted) if wanted in codes else None for name, codes in known.items()}
        both = block[~block[[*COMPARED]].isin((SHORT, UNKNOWN)).any(axis=1)]
        rows.append(
            {
                "language": language,
                "target": target,
                "answers": len(block),
                "language_accuracy": hits["langdetect"],
                "lingua_accuracy": hits["lingua"],
                **{f"{name}_accuracy": hits[name] for name in FURTHER if name in hits},
                "disagreement": None
                if None in map(hits.get, COMPARED)
                else _mean(both["langdetect"] != both["lingua"]),
                **(rates(block, target) if wanted in by_line else dict.fromkeys(RATES)),
                "short": _mean(block["langdetect"] == SHORT),
                "unknown": _mean(block["langdetect"] == UNKNOWN),
                **{name: _mean(block[name].dropna()) for name in MEASURES},
            }
        )
    return rows


def _mean(values: pd.Series) -> float | None:
    return float(values.to_numpy(float).mean()) if len(values) else None
