"""How far a task is solved by the choices' lengths, or by the words and letters that they share with the question.

A model that answers as often as one of these rules need not have understood anything.
"""

import re
from collections.abc import Callable, Sequence

from lape.text.choice_question import Question
from lape.text.language_codes import UNSPACED


def word_set(text: str) -> set[str]:
    """The words of a text, case-folded; pairs of neighbouring characters where a script puts no space between words."""
    text = text.casefold()
    pairs = {run[place : place + 2] for run in UNSPACED.findall(text) for place in range(len(run) - 1)}
    return pairs | set(re.findall(r"\w+", UNSPACED.sub(" ", text)))


def trigrams(text: str) -> set[str]:
    text = text.casefold()
    return {text[place : place + 3] for place in range(len(text) - 2)}


# What a rule ranks the choices by: from a question and one of its choices to a number, the largest of which is picked.
RULES: dict[str, Callable[[Question, str], float]] = {
    "longest": lambda question, choice: len(choice.encode()),
    "shortest": lambda question, choice: -len(choice.encode()),
    "most_shared_words": lambda question, choice: len(word_set(question.question) & word_set(choice)),
    "most_shared_trigrams": lambda question, choice: len(trigrams(question.question) & trigrams(choice)),
}


def baselines(questions: Sequence[Question]) -> list[dict]:
    """The accuracy of every rule of `RULES`, beside chance. Of choices that a rule ranks alike the first is picked.

    Args:
        questions: N questions, from one on.

    Returns:
        one row per rule: rule, accuracy, low and high (of Wilson's 95% interval), and chance (of a uniform draw).
    """
    from scipy import stats

    chance, rows = sum(1 / len(each.choices) for each in questions) / len(questions), []
    for rule, value in RULES.items():
        picked = [max(range(len(q.choices)), key=lambda place, q=q: value(q, q.choices[place])) for q in questions]
        hits = sum(place == each.answer for place, each in zip(picked, questions, strict=True))
        low, high = stats.binomtest(hits, len(questions)).proportion_ci(method="wilson")
        rows.append({"rule": rule, "accuracy": hits / len(questions), "low": low, "high": high, "chance": chance})
    return rows
