"""One neuron of the tiny model, as a notebook shows it."""

from html.parser import HTMLParser

import pytest
from tiny_data import make_text
from transformers import AutoTokenizer

import lape
from lape.errors import LapeError
from lape.statistics.feeding import record_statistics

TEXTS = {language: [make_text(language, 40, number) for number in range(12)] for language in ("en", "fr")}


class Text(HTMLParser):
    """The text of a page, by the element that it stands in."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self._stack = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self._stack.append(tag)

    def handle_endtag(self, tag):
        assert self._stack.pop() == tag

    def handle_data(self, data):
        self.found.append((self._stack[-1], data))


def test_a_card_says_what_the_neuron_does(tiny_model, tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    found = lape.inspect(tiny_model, tokenizer, 2, 5, TEXTS)
    for language, texts in TEXTS.items():
        counted = record_statistics(tiny_model, texts, tokenizer)
        assert found.languages[language].share == counted.count[2, 5] / counted.tokens
        strongest = found.languages[language].strongest
        assert len(strongest) == 5
        for context in strongest:
            whole = [token for token in context.tokens if not token.startswith("<")]  # no BOS, no part of a character
            assert language != "en" or "".join(whole) in "".join(texts)
            assert context.values[context.centre] == max(context.values)
    assert "neuron 5 in layer 3 (index 2)" in str(found)
    parts = Text(found._repr_html_()).found
    assert [text for tag, text in parts if tag == "code"] == [*found.raised, *found.lowered]
    assert len([text for tag, text in parts if tag == "b"]) == sum(
        len(each.strongest) + len(each.below) for each in found.languages.values()
    )


def test_text_is_shown_and_never_run(tiny_model, tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    hostile = "<script>alert(1)</script> ]]> \ud83d </span>\n<b>"
    card = lape.inspect(tiny_model, tokenizer, 0, 0, [hostile.encode("utf-8", "replace").decode()] * 3)._repr_html_()
    assert "<script" not in card and not [text for tag, text in Text(card).found if tag == "script"]


def test_texts_that_hold_nothing_are_refused(tiny_model, tiny_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    with pytest.raises(LapeError, match="texts: hold no token; pass strings"):
        lape.inspect(tiny_model, tokenizer, 0, 0, {"en": TEXTS["en"], "fr": [""]})
    with pytest.raises(LapeError, match="texts: a int is among the strings"):
        lape.inspect(tiny_model, tokenizer, 0, 0, [3])
