"""Scores of answers that need no judge: language, fluency, repetition, likeness to the normal answers.

None of them is content quality. Fluency is the NLL of an answer under the unmodified model, small for what that model
would say itself and for repetition, which distinct-n tells; chrF and BLEU tell how much of the wording of its normal
answer is there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from lape.errors import LapeError
from lape.generation.answers import KEYS, MEASURES, read_answers
from lape.identification import (
    IDENTIFIERS,
    MINIMUM_BYTES,
    SHORT,
    UNKNOWN,
    base_language,
    count_letters,
    identify,
    known_languages,
)
from lape.perplexity import chunk_nll

# How sacrebleu finds the words of languages that put no spaces between them; all others by "13a".
_TOKENIZERS = {"zh": "zh"} | dict.fromkeys(("ja", "km", "lo", "my", "th"), "char")


def normal_answers(header_path: str | Path, header: Mapping, answers: Sequence[Mapping]) -> list[str]:
    """What the same model says, unperturbed, to the same question in the language that is wanted.

    Args:
        header_path: of the answers in setting "normal".
        header: of the generations that they are for.
        answers: those generations.

    Returns:
        a normal answer for each of `answers`.

    Raises:
        LapeError: they are of another model, prompt or setting, or one is missing.
    """
    reference, normal = read_answers(header_path)
    expected = {key: header[key] for key in ("model", "model_revision", "prompt")} | {"setting": "normal"}
    for key, value in expected.items():
        if reference[key] != value:
            raise LapeError(f"{header_path}: its {key} is {reference[key]}, not {value}; pass the normal answers to it")
    for key in ("template", "suffixes", "chat", "stop", "max_new_tokens", "repetition_penalty"):
        if reference["parameters"].get(key) != header["parameters"].get(key):
            raise LapeError(f"{header_path}: was generated with another {key}; pass the normal answers with the same")
    found = {(answer["language"], answer["number"]): answer["output"] for answer in normal}
    for answer in answers:
        if (answer["target"], answer["number"]) not in found:
            raise LapeError(
                f"{header_path}: has no answer to question {answer['number']} in {answer['target']}; "
                "generate the normal answers to the same questions in all languages"
            )
    return [found[answer["target"], answer["number"]] for answer in answers]


def fluency(
    model: nn.Module,
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


def similarity(answer: str, reference: str, language: str) -> dict[str, float]:
    """Sentence chrF and BLEU of an answer against another, 0 to 100; NaN where the other is empty."""
    if not reference:
        return {"chrf": np.nan, "bleu": np.nan}
    chrf, bleu = _metrics(bleu_tokenizer(language))
    # Equal texts have a BLEU of 100 and a rounding error.
    return {
        name: min(metric.sentence_score(answer, [reference]).score, 100.0)
        for name, metric in (("chrf", chrf), ("bleu", bleu))
    }


@cache
def _metrics(tokenizer: str):
    from sacrebleu.metrics import BLEU, CHRF

    return CHRF(), BLEU(tokenize=tokenizer, effective_order=True)


def score_table(
    answers: Sequence[Mapping],
    normal: Sequence[str],
    tokens: Sequence[Sequence[int]],
    nll: np.ndarray,
    minimum_bytes: int = MINIMUM_BYTES,
    on_answer: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """All scores, a row an answer.

    Args:
        answers: rows of a generations artifact.
        normal: see `normal_answers`.
        tokens: ids of each output.
        nll: see `fluency`.
        minimum_bytes: see `identify`.
        on_answer: called after each, for progress.
    """
    rows = []
    for answer, reference, ids, value in zip(answers, normal, tokens, nll, strict=True):
        output = answer["output"]
        rows.append(
            {key: answer[key] for key in KEYS}
            | identify(output, minimum_bytes)
            | {"letters": count_letters(output)[0], "tokens": len(ids), "nll": value}
            | {"distinct_1": distinct(ids, 1), "distinct_2": distinct(ids, 2)}
            | similarity(output, reference, answer["target"])
        )
        on_answer()
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> list[dict]:
    """What a scores header says of each block of answers.

    Args:
        table: of `score_table`.

    Returns:
        for every (language, target), in their order: answers; language_accuracy (langdetect) and lingua_accuracy,
        shares of the answers, short ones included, that are in the target; disagreement, a share of those that both
        identify; short; unknown (to langdetect); and the mean of each of `MEASURES` over the answers that have it.
        None where an identifier does not know the target, or there is no such answer.
    """
    rows = []
    for (language, target), block in table.groupby(["language", "target"], sort=False):
        wanted = base_language(target)
        known = {name: wanted in known_languages(name) for name in IDENTIFIERS}
        hits = {name: _mean(block[name] == wanted) if known[name] else None for name in IDENTIFIERS}
        both = block[~block[[*IDENTIFIERS]].isin((SHORT, UNKNOWN)).any(axis=1)]
        rows.append(
            {
                "language": language,
                "target": target,
                "answers": len(block),
                "language_accuracy": hits["langdetect"],
                "lingua_accuracy": hits["lingua"],
                "disagreement": _mean(both["langdetect"] != both["lingua"]) if all(known.values()) else None,
                "short": _mean(block["langdetect"] == SHORT),
                "unknown": _mean(block["langdetect"] == UNKNOWN),
                **{name: _mean(block[name].dropna()) for name in MEASURES},
            }
        )
    return rows


def _mean(values: pd.Series) -> float | None:
    return float(values.to_numpy(float).mean()) if len(values) else None
