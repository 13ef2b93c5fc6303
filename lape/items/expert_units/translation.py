"""Translations under expert units (Kojima et al. 2024): the share in the target language, BLEU and chrF."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_json, sha256
from lape.errors import LapeError
from lape.generation.answers import read_answers
from lape.items.answers import examples
from lape.items.answers.inputs import TRANSLATION, Answers, Group, Resampling, generations_header, percentiles
from lape.items.expert_units.texts import NONE, SHARES, chosen, labelled, pairs_of, text_rows
from lape.text.pairs import load_pairs

TEXT_METRICS = (*SHARES, "short")
CORPUS_METRICS = ("corpus_bleu", "corpus_chrf")


def data(header: str | Path) -> list[Path]:
    """The TSV beside a scores header, and the scored texts and the pairs of sentences with the headers of both."""
    answers = Answers(Path(header), read_json(header, "scores"), None)
    pairs = [path for pairs in _pairs_headers(answers).values() for path in (pairs, pairs.with_suffix(".jsonl"))]
    return [*examples.data(header), *pairs]


def translation(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Translations with nothing overwritten and with each target language's expert units set to their median.

    Args:
        paths: as for `lape.items.expert_units.texts.share`, with the prompts translation-CORPUS. The inputs of the
            scores name the files of the pairs that are translated.
        resamples: number of resamples of the bootstrap over sentences.
        seed: seed of the draws of the resamples and of the random sign flips.

    Returns:
        the columns of `share` except rescored and difference, with source (a language) before language. The metrics
        corpus_bleu and corpus_chrf are sacrebleu's scores of all sentences, 0 to 100. Their intervals resample the
        counts of the sentences with the same draw for all settings; they have no test. A target has the sentences that
        the corpus pairs with it. Settings are compared on these sentences, and the mean over the languages is the mean
        of the targets' scores.

    Raises:
        LapeError: see `share`; or the inputs of scores name no pairs, or the pairs lack a sentence.
    """
    blocks = []
    for group in chosen(paths, TRANSLATION):
        resampling = Resampling(len(group.numbers), resamples, seed)
        block = pd.concat([text_rows(group, TEXT_METRICS, resampling, seed), _corpus_rows(group, resampling)])
        settings = list(group.settings)
        block = block.sort_values("setting", key=lambda names: names.map(settings.index), kind="stable")
        block.insert(block.columns.get_loc("language"), "source", pairs_of(group)[0][0])
        blocks.append(block)
    return pd.concat(blocks, ignore_index=True)


def _corpus_rows(group: Group, resampling: Resampling) -> pd.DataFrame:
    """BLEU and chrF of all translations of each setting, and their changes to the setting none."""
    there = np.array([np.isin(group.numbers, rows.index) for rows in group.settings[NONE].blocks.values()])
    scores = {setting: _corpus_scores(group, answers, there, resampling) for setting, answers in group.settings.items()}
    rows = []
    for setting, answers in group.settings.items():
        labels = list(labelled(group, answers))
        for metric, (part, names) in product(CORPUS_METRICS, labels):
            drawn, questions = scores[setting][metric][part].mean(axis=0), int(there[part].any(axis=0).sum())
            low, high = percentiles(drawn[1:], questions)
            row = {**names, "metric": metric, "texts": int(there[part].sum())}
            row |= {"ours": drawn[0], "low": low, "high": high}
            if setting != NONE:
                changes = drawn - scores[NONE][metric][part].mean(axis=0)
                low, high = percentiles(changes[1:], questions)
                row |= {"change": changes[0], "change_low": low, "change_high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def _corpus_scores(group: Group, answers: Answers, there: np.ndarray, resampling: Resampling) -> dict[str, np.ndarray]:
    """Metric -> [K, 1 + B]: for each target, sacrebleu's score of all its translations, then of every draw of them.

    Args:
        group, answers, resampling: the sentences of all targets, and the translations of one setting.
        there: bool [K, N], which of the sentences each target has. A draw without any scores NaN.
    """
    from sacrebleu.metrics import BLEU, CHRF

    from lape.evaluation.scores import bleu_tokenizer  # loads torch, which no other table needs

    headers = _pairs_headers(answers)
    _, texts = read_answers(generations_header(answers))
    outputs = {(text["target"], text["number"]): text["output"] for text in texts}
    scores: dict[str, list[np.ndarray]] = {metric: [] for metric in CORPUS_METRICS}
    for (_, target), own in zip(pairs_of(group), there, strict=True):
        if target not in headers:
            raise LapeError(f"{answers}: scored without the pairs of {target}; run `lape score` with their headers")
        references = {pair["number"]: pair["reference"] for pair in load_pairs(headers[target])}
        numbers = np.array(group.numbers)[own].tolist()
        missing = [number for number in numbers if number not in references]
        if missing:
            raise LapeError(f"{headers[target]}: has no sentence {missing[0]}; run `lape score` with the pairs again")
        both = [outputs[target, number] for number in numbers], [[references[number] for number in numbers]]
        drawn_any = np.append(True, resampling.sums(own[:, None].astype(float))[:, 0] > 0)
        for name, metric in zip(CORPUS_METRICS, (BLEU(tokenize=bleu_tokenizer(target)), CHRF()), strict=True):
            # The counts of matches per sentence add up to those of a corpus. sacrebleu's own significance tests
            # resample them too.
            extracted = np.array(metric._extract_corpus_statistics(*both), float)
            counts = np.zeros((len(own), extracted.shape[1]))
            counts[own] = extracted
            sums = np.concatenate([counts.sum(axis=0, keepdims=True), resampling.sums(counts)])
            drawn = [metric._compute_score_from_stats(row).score for row in sums.tolist()]
            scores[name].append(np.where(drawn_any, drawn, np.nan))
    return {name: np.stack(drawn) for name, drawn in scores.items()}


def _pairs_headers(answers: Answers) -> dict[str, Path]:
    """Language -> header of the pairs that its texts were scored against, after a check that they have not changed."""
    inputs, found = answers.header["inputs"], {}
    for path in (Path(name) for name in inputs if name.endswith(".jsonl")):
        header = read_json(path.with_suffix(".json"))
        if header.get("artifact") == "pairs":
            if sha256(path) != inputs[str(path)]:
                raise LapeError(f"{path}: is not what {answers.path} was scored against; run `lape score` again")
            found[header["language"]] = path.with_suffix(".json")
    return found
