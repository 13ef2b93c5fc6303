"""Sentences of running text, by a rule for most scripts.

The rule is Unicode's (Standard Annex 29, "Sentence Boundaries") in its main points, with what abbreviations need beyond
it. Libraries that split better do so by a list of abbreviations for each of some languages; here any may come.
"""

import re

# A terminator stands before white space, but for the full-width ones, unless a quotation or bracket closes behind it:
# there the sentence around it may go on. Line breaks, and the double spaces that stand for lost ones, end a sentence;
# so does, in Thai and Lao, which have no terminator, a space.
_BOUNDARY = re.compile(
    r"""
    (?P<full> [.!?…]++ )(?: \s? [»›] | ["'”’“)\]] )* (?P<space> \s+ )
    | [։؟۔।॥၊။።។]++ ["'”’“)\]»]* \s*
    | [。！？｡．]++ (?! [」』”’）)】》"] | \d ) \s*
    | (?<= [。！？｡．][」』”’）)】》"] ) \s+
    | [^\S\u00a0\u202f]{2,} | [\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*
    | (?<= [\u0e00-\u0eff] ) \s (?= [\u0e00-\u0eff] )
    """,
    re.VERBOSE,
)
# From its beginning: a vowel mark inside a word is no \w.
_WORD_BEFORE = re.compile(r"""(?<![^\s(\["'„“‘«])[\w.]+$""")
_SPACES = (" ", "\u00a0", "\u202f")  # a line break and a double space always end a sentence
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxz")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the white space around them.

    None ends before a small letter, nor by a full stop after one or two digits (an ordinal, a list's number), a single
    letter or a title (p., J., Mrs.) or what holds a full stop itself (e.g.).
    """
    sentences, start = [], 0
    for boundary in _BOUNDARY.finditer(text):
        if boundary["space"] in _SPACES and _goes_on(text, start, boundary):
            continue
        sentences.append(text[start : boundary.end()].strip())
        start = boundary.end()
    return [sentence for sentence in [*sentences, text[start:].strip()] if sentence]


def _goes_on(text: str, start: int, boundary: re.Match) -> bool:
    """Whether a sentence goes on behind its terminator and a space."""
    if text[boundary.end() : boundary.end() + 1].islower():
        return True
    if boundary["full"] != "." or not (found := _WORD_BEFORE.search(text, start, boundary.start())):
        return False
    word = found[0]
    if word.isdecimal():
        return len(word) <= 2
    title = word[0].isupper() and len(word) <= 4 and _CONSONANTS.issuperset(word[1:])
    return "." in word or len(word) == 1 or title
