"""Scores of answers that need no judge: language, fluency, repetition, likeness to references.

None of them is content quality. Fluency is the NLL of an answer under the unmodified model, small for what that model
would say itself and for repetition, which distinct-n tells; chrF and BLEU tell how much of the wording of its normal
answer, of the right translation, or of any held-out sentence is there (see `references`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lape.generation.answers import KEYS, MEASURES
from lape.text.identification import (
    IDENTIFIERS,
    MINIMUM_BYTES,
    SHORT,
    UNKNOWN,
    base_language,
    count_letters,
    identify,
    known_languages,
)

if TYPE_CHECKING:
    from torch import nn

# How sacrebleu finds the words of languages that put no spaces between them; all others by "13a".
_TOKENIZERS = {"zh": "zh"} | dict.fromkeys(("ja", "km", "lo", "my", "th"), "char")


def fluency(
    model: "nn.Module",
    answers: Sequence[Sequence[int]],
    bos: int | None,
    batch_size: int = 16,
    backend: str = "extension",
    longest: int | None = None,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> np.ndarray:
    """Mean NLL of every answer by itself, without the question.

    Args:
        model: a Hugging Face causal LM, unperturbed.
        answers: token ids of each.
        bos: id that the first token is predicted from; None: nothing predicts the first token, it is not counted.
        batch_size: answers of similar length a forward pass.
        backend: see `chunk_nll`.
        longest: positions that the model can read; an answer is cut there.
        on_batch: called with each batch's number of tokens, for progress.

    Returns:
        float64 [N], nats per predicted token; NaN where there is none. A batch changes it by rounding alone.

    Raises:
        LapeError: the likelihood is not finite.
    """
    from lape.evaluation.perplexity import chunk_nll

    texts = [([] if bos is None else [bos]) + list(ids) for ids in answers]
    texts = [text[:longest] for text in texts]
    # The longest first: where memory is too small for them, the run ends at once.
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
    """Different n-grams over n-grams (distinct-n of Li et al. 2016, by answer); NaN where there is none."""
    grams = list(zip(*(ids[start:] for start in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else np.nan


def bleu_tokenizer(language: str) -> str:
    """How sacrebleu cuts a language into words."""
    return _TOKENIZERS.get(base_language(language), "13a")


def similarity(answer: str, references: Sequence[str], language: str) -> dict[str, float]:
    """Sentence chrF and BLEU of an answer, 0 to 100; NaN where no reference says anything.

    Args:
        answer: a text.
        references: texts, each as good as the others: chrF takes the likest of them, BLEU the n-grams of all.
        language: that the answer should be in.
    """
    references = tuple(filter(None, references))
    if not references:
        return {"chrf": np.nan, "bleu": np.nan}
    # Equal texts have a BLEU of 100 and a rounding error.
    return {
        name: min(metric.corpus_score([answer], None).score, 100.0)
        for name, metric in zip(("chrf", "bleu"), _metrics(bleu_tokenizer(language), references), strict=True)
    }


@lru_cache(32)  # the n-grams of many references are counted once, and answers come language by language
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
    fasttext: str | Path | None = None,
    on_answer: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """All scores, a row an answer.

    Args:
        answers: rows of a generations artifact.
        references: of each, see `references.references`.
        tokens: ids of each output.
        nll: see `fluency`.
        minimum_bytes, fasttext: see `identify`.
        on_answer: called after each, for progress.
    """
    rows = []
    identified = cache(lambda text: identify(text, minimum_bytes, fasttext))  # some texts stand there once a target
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


def summary(table: pd.DataFrame, fasttext_languages: Collection[str] = ()) -> list[dict]:
    """What a scores header says of each block of answers.

    Args:
        table: of `score_table`.
        fasttext_languages: codes that the model of fastText can tell, where one was asked.

    Returns:
        for every (language, target), in their order: answers; language_accuracy (langdetect) and lingua_accuracy,
        shares of the answers, short ones included, that are in the target, and fasttext_accuracy where that was asked;
        disagreement of the first two, a share of those that both identify; short; unknown (to langdetect); and the mean
        of each of `MEASURES` over the answers that have it. None where an identifier does not know the target, or there
        is no such answer.
    """
    rows = []
    for (language, target), block in table.groupby(["language", "target"], sort=False):
        wanted = base_language(target)
        known = {name: wanted in known_languages(name) for name in IDENTIFIERS}
        known |= {"fasttext": wanted in fasttext_languages} if "fasttext" in block else {}
        hits = {name: _mean(block[name] == wanted) if known[name] else None for name in known}
        both = block[~block[[*IDENTIFIERS]].isin((SHORT, UNKNOWN)).any(axis=1)]
        rows.append(
            {
                "language": language,
                "target": target,
                "answers": len(block),
                "language_accuracy": hits["langdetect"],
                "lingua_accuracy": hits["lingua"],
                **({"fasttext_accuracy": hits["fasttext"]} if "fasttext" in hits else {}),
                "disagreement": None
                if None in map(hits.get, IDENTIFIERS)
                else _mean(both["langdetect"] != both["lingua"]),
                "short": _mean(block["langdetect"] == SHORT),
                "unknown": _mean(block["langdetect"] == UNKNOWN),
                **{name: _mean(block[name].dropna()) for name in MEASURES},
            }
        )
    return rows


def _mean(values: pd.Series) -> float | None:
    return float(values.to_numpy(float).mean()) if len(values) else None
