"""A task from a run's own text: which of four passages comes next in a document.

A question is a sentence of a document that the run keeps for evaluation, and its right choice is the sentence behind
it. The wrong choices come next in other documents. They are about as long as the right one, and share exactly as many
words with the question.
"""

import random
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import dropwhile, islice
from pathlib import Path
from typing import NamedTuple

from lape.text.choice_question import Question
from lape.text.drawing import comparable, in_turn
from lape.text.reading import Reading
from lape.text.shortcuts import trigrams, word_set
from lape.text.splitting import split_sentences
from lape.text.stored import StoredCorpus

CHOICES = 4
_NEAR = 0.2  # by so much of its bytes a wrong choice may be longer or shorter than the right one
_LEAST = 0.6  # a text has this share of the bytes that it may have, or more
_USES = 4  # a passage is a wrong choice so often at most


class _Passage(NamedTuple):
    """A sentence, and what comes next in its document."""

    document: str
    before: str
    after: str


def read_next_passage(
    language: str,
    reading: Reading,
    *,
    corpus: str | Path,
    valid_share: float,
    seed: int,
    question_bytes: int = 64,
    choice_bytes: int = 32,
    passages: int = 160,
    skip: Sequence[int] = (),
) -> Iterator[Question]:
    """Yield the questions of one language, in the order of the ids from 0.

    Documents take turns, in the order in which tokens are sampled. No sentence is in two questions but as a wrong
    choice. The place of the right choice depends on the seed and on the id alone. Among four ids in a row each place is
    right once, so that all languages have the same right places.

    Args:
        language: the corpus's language.
        reading: takes note of the files.
        corpus: the Parquet file of documents.
        valid_share: share of the documents kept for evaluation, see `lape.text.tokens.split_rows`.
        seed: seed by which the tokens were sampled; of the order of the documents and of the right places.
        question_bytes: a sentence keeps so many bytes (UTF-8) before the right choice, from the beginning of a word.
        choice_bytes: a choice has so many bytes at most, to the end of a word.
        passages: the first so many are right choices, and wrong ones of one another. Some find too few that are alike.
        skip: ids that are left out.

    Raises:
        LapeError: the corpus is of another language, or cannot be read.
    """
    stored = StoredCorpus.of(corpus, language, reading)
    rows = stored.rows("valid", valid_share, seed)
    documents = (
        _passages(stored.ids[row], text, question_bytes, choice_bytes)
        for row, text in zip(rows, stored.texts(rows), strict=True)
    )
    # A text that stands twice would be a right and a wrong choice of one question.
    unlike = {comparable(each.after): each for each in islice(in_turn(documents), passages)}
    for identity, (own, wrong) in enumerate(_with_wrong(list(unlike.values()), seed)):
        places = random.Random(f"{seed}:{identity // CHOICES}").sample(range(CHOICES), CHOICES)
        answer = places[identity % CHOICES]
        if identity not in skip:
            yield Question(identity, own.before, [*wrong[:answer], own.after, *wrong[answer:]], answer)


def _passages(document: str, text: str, question_bytes: int, choice_bytes: int) -> Iterator[_Passage]:
    """The passages of a document, in order, none of which shares a sentence with another."""
    sentences = split_sentences(text)
    place = 0
    while place + 1 < len(sentences):
        before = "".join(dropwhile(_is_mark, _shortened(sentences[place][::-1], question_bytes)[::-1]))
        after = _shortened(sentences[place + 1], choice_bytes)
        long = (len(each.encode()) >= _LEAST * most for each, most in ((before, question_bytes), (after, choice_bytes)))
        if all(long):
            yield _Passage(document, before, after)
            place += 1
        place += 1


def _shortened(text: str, most: int) -> str:
    """The beginning of a text of some bytes at most, to the end of a word, or of a character where no space is near."""
    if len(text.encode()) <= most:
        return text
    start = text.encode()[:most].decode(errors="ignore")
    whole = start.rpartition(" ")[0] if text[len(start)] != " " else start
    if len(whole.encode()) >= _LEAST * most:
        return whole.rstrip()
    while start and _is_mark(text[len(start)]):
        start = start[:-1]
    return start.rstrip()


def _is_mark(character: str) -> bool:
    """Whether a character belongs to the letter before it, as vowel signs do."""
    return unicodedata.category(character).startswith("M")


def _with_wrong(pool: Sequence[_Passage], seed: int) -> Iterator[tuple[_Passage, list[str]]]:
    """Every passage with its wrong choices, of other documents; one without enough of them is left out."""
    uses: Counter[int] = Counter()
    words, sizes = [word_set(each.after) for each in pool], [len(each.after.encode()) for each in pool]
    threes = [trigrams(each.after) for each in pool]
    for number, own in enumerate(pool):
        asked, size = word_set(own.before), sizes[number]
        shared = len(asked & words[number])
        letters = trigrams(own.before)
        parts = [len(letters & each) for each in threes]
        alike = [
            place
            for place, each in enumerate(pool)
            if each.document != own.document
            and uses[place] < _USES
            and abs(sizes[place] - size) <= _NEAR * size
            and len(asked & words[place]) == shared
        ]
        random.Random(f"{seed}:{own.document}:{own.before}").shuffle(alike)
        nearest = sorted(alike, key=lambda place: abs(parts[place] - parts[number]))
        chosen: dict[str, int] = {}  # a document gives one wrong choice
        for place in nearest:
            chosen.setdefault(pool[place].document, place)
        wrong = list(chosen.values())[: CHOICES - 1]
        if len(wrong) == CHOICES - 1:
            uses.update(wrong)
            yield own, [pool[place].after for place in wrong]
