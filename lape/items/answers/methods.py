"""Ways to make a model answer in another language: neurons, directions in the hidden states, and the prompt."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.items.answers.inputs import Answers, Group, Resampling, load, mean, percentiles
from lape.items.answers.rows import ALL
from lape.items.answers.sections import groups
from lape.items.layout import Section, rounded, with_interval

# Kind of setting -> the method that a row names.
METHODS = {
    "prompted": "prompt",
    "cross": "neurons",
    "cross_random": "control",
    "diffmean": "DiffMean",
}


def steering_methods(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How well each method makes the model answer a question of one language in another one.

    The score is that of CLaS-Bench (Gurgurov et al. 2026): the harmonic mean of language success and relevance.

    Args:
        paths: scores headers, each with its TSV beside it, and judgements headers where there are any. Each model and
            prompt needs settings of one language k: cross-k, which is compared with; further doses of it,
            cross_random-k, prompted-k and diffmean-k where they were measured. Other settings are passed over.
        resamples: number of resamples of the bootstrap over questions.
        seed: seed of the draws of the resamples.

    Returns:
        one row per model, prompt, method, dose and target, and one for the mean over the targets. Columns:
        - model, prompt, method (a value of `METHODS`), dose (as in the setting's name; of cross-k the configured one;
          "" without one), language (k), target (`ALL` in the row of the mean);
        - answers, success (share of answers in the target by langdetect) with low and high;
        - relevance (0 to 1) and relevance_by: the judge's rating, where every setting was judged, else chrF against the
          normal answer to the question in the target;
        - score (harmonic mean of success and relevance; in the row of the mean, the mean over the targets) with
          score_low and score_high;
        - difference (score less that of cross-k at the configured dose) with difference_low and difference_high,
          paired over questions; empty in its own rows;
        - nll, distinct_2.

    Raises:
        LapeError: a setting is missing, comes twice or answers other questions than the others; or the settings are of
            several languages.
    """
    rows = []
    for group in load(paths):
        settings = {name: answers for name, answers in group.settings.items() if answers.kind in METHODS}
        asked = {name.partition("@")[0].partition("-")[2] for name in settings if "-" in name}
        if len(asked) != 1:
            raise LapeError(
                f"scores of {group.model}, {group.prompt}: questions are in {', '.join(sorted(asked)) or 'none'}; "
                "pass the settings of one language, such as cross-en and diffmean-en@0.5-1"
            )
        (language,) = asked
        targets = [(language, target) for target in group.languages if target != language]
        resampling = Resampling(len(group.numbers), resamples, seed)
        judged = all(answers.judged is not None for answers in settings.values())
        compared = _Scored(group, f"cross-{language}", targets, judged, resampling)
        for name, answers in sorted(settings.items(), key=lambda item: _place(item[1])):
            own = _Scored(group, name, targets, judged, resampling)
            for place, target in [*enumerate(target for _, target in targets), (slice(None), ALL)]:
                rows.append(
                    {
                        **group.names,
                        "method": METHODS[answers.kind],
                        "dose": _dose(answers),
                        "language": language,
                        "target": target,
                        **own.row(place),
                        **(own.less(compared, place) if name != f"cross-{language}" else _NOTHING),
                    }
                )
    return pd.DataFrame(rows)


_NOTHING = dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)


def _place(answers: Answers) -> tuple:
    """Where a setting stands: by its method, in the order of `METHODS`, and by its dose, the configured one first."""
    return list(METHODS).index(answers.kind), answers.dosed, answers.setting


def _dose(answers: Answers) -> str:
    """The dose of a setting, as names of settings write it."""
    steering = answers.header["steering"]
    if steering is None:
        return ""
    if answers.kind == "diffmean":
        return answers.setting.partition("@")[2]
    return "{mode}-{positions}-{strength:g}-{share:g}".format(**steering)


class _Scored:
    """The scores of one setting, by target."""

    def __init__(self, group: Group, name: str, pairs: list, judged: bool, resampling: Resampling):
        measured = group.measure(name, pairs)
        self._measured, self._resampling, self._judged = measured, resampling, judged
        self._success = measured["language_accuracy"]
        self._relevance = (measured["content_quality"] - 1) / 9 if judged else measured["chrf"] / 100
        self.score, self._drawn = resampling.harmonic(self._success, self._relevance)

    def row(self, place: int | slice) -> dict:
        """The columns of one target, or of the mean over all of them."""
        part = slice(place, place + 1) if isinstance(place, int) else place
        success = self._success[part]
        low, high = self._resampling.bounds("language_accuracy", success)
        score_low, score_high = self._bounds(self._drawn[:, part])
        return {
            "answers": int((~np.isnan(success)).sum()),
            **{"success": mean(success), "low": low, "high": high},
            "relevance": mean(self._relevance[part]),
            "relevance_by": "judge" if self._judged else "chrF",
            **{"score": float(self.score[part].mean()), "score_low": score_low, "score_high": score_high},
            **{name: mean(self._measured[name][part]) for name in ("nll", "distinct_2")},
        }

    def less(self, other: "_Scored", place: int | slice) -> dict:
        """How much the score is above that of another setting, with the interval of the difference."""
        part = slice(place, place + 1) if isinstance(place, int) else place
        low, high = self._bounds(self._drawn[:, part] - other._drawn[:, part])
        difference = float((self.score[part] - other.score[part]).mean())
        return {"difference": difference, "difference_low": low, "difference_high": high}

    def _bounds(self, drawn: np.ndarray) -> tuple[float, float]:
        return percentiles(drawn.mean(axis=1), self._success.shape[1])


def steering_methods_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and prompt: a row per method and dose with the mean over the targets; then the score by target."""
    sections = []
    for title, own in groups(frame):
        own = own.assign(row=(own["method"] + " " + own["dose"].fillna("")).str.strip())
        average, single = own[own["target"] == ALL].set_index("row"), own[own["target"] != ALL]
        by, language = average["relevance_by"].iat[0], average["language"].iat[0]
        cells = pd.DataFrame(
            {
                "score [95% interval]": _intervals(average, "score", "score_low", "score_high"),
                "less neurons": _intervals(average, "difference", "difference_low", "difference_high"),
                "success [95% interval]": _intervals(average, "success", "low", "high"),
                f"relevance ({by})": average["relevance"].map(rounded).to_list(),
                "NLL": average["nll"].map(rounded).to_list(),
                "distinct-2": average["distinct_2"].map(rounded).to_list(),
                "answers": average["answers"].map("{:,}".format).to_list(),
            },
            index=average.index,
        )
        what = f"questions in {language}, mean over the other languages; score: harmonic mean of success and relevance"
        sections.append(Section(f"{title}: {what}", "method and dose", cells))
        table = single.assign(text=single["score"].map(rounded))
        cells = table.pivot(index="row", columns="target", values="text")
        cells = cells.loc[single["row"].unique(), single["target"].unique()]
        sections.append(Section(f"{title}: score by target language", "method and dose", cells))
    return sections


def _intervals(rows: pd.DataFrame, *columns: str) -> list[str]:
    return ["" if np.isnan(three[0]) else with_interval(*three) for three in rows[[*columns]].itertuples(index=False)]
