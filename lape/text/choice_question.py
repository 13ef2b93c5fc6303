"""A question with choices, one of which is right."""

from typing import NamedTuple


class Question(NamedTuple):
    """A question with choices.

    Attributes:
        id: the number of the question, the same in all languages.
        question: the text that the question is about.
        choices: the texts of the choices.
        answer: the place of the right choice, from 0.
    """

    id: int
    question: str
    choices: list[str]
    answer: int
