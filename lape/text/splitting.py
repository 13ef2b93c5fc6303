"""Split running text into sentences, by one rule for most scripts.

In its main points the rule is Unicode's (Standard Annex 29, "Sentence Boundaries"). It adds what abbreviations need.
Libraries that split better need a list of abbreviations per language; this rule must serve any language.
"""

import re

# A sentence ends at a terminator before white space. A full-width terminator needs no white space, unless a quotation
# or bracket closes behind it: there the sentence around the quotation may go on. Line breaks end a sentence too, and so
# do double spaces, which stand for lost line breaks. Thai and Lao have no terminator: there a space ends a sentence.
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
# The word before a full stop, from its beginning. The beginning is tested, as a vowel mark inside a word is no \w.
_WORD_BEFORE = re.compile(r"""(?<![^\s(\["'„“‘«])[\w.]+$""")
_SPACES = (" ", "\u00a0", "\u202f")  # a line break and a double space always end a sentence
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxz")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the white space around them.

    No sentence ends before a small letter. No sentence ends at a full stop after one or two digits (an ordinal, the
    number of a list), after a single letter or a title (p., J., Mrs.), or after a word that holds a full stop (e.g.).
    """
    sentences, start = [], 0
    for boundary in _BOUNDARY.finditer(text):
        if boundary["space"] in _SPACES and _goes_on(text, start, boundary):
            continue
        sentences.append(text[start : boundary.end()].strip())
        start = boundary.end()
    return [sentence for sentence in [*sentences, text[start:].strip()] if sentence]


def _goes_on(text: str, start: int, boundary: re.Match) -> bool:
    """Whether the sentence goes on after a terminator and a space."""
    if text[boundary.end() : boundary.end() + 1].islower():
        return True
    if boundary["full"] != "." or not (found := _WORD_BEFORE.search(text, start, boundary.start())):
        return False
    word = found[0]
    if word.isdecimal():
        return len(word) <= 2
    title = word[0].isupper() and len(word) <= 4 and _CONSONANTS.issuperset(word[1:])
    return "." in word or len(word) == 1 or title
