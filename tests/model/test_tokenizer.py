"""Tokenizers: text is text, prompts are gone on with, and BOS is what each model's tokenizer does."""

import pytest
from tiny_data import make_model
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.model.tokenizer import begins_with, chosen_bos, load_tokenizer, prompt_ids

BOS, EOS = 0, 1


@pytest.fixture
def saved(tiny_folder, tmp_path):
    """The tiny model's tokenizer with a post-processor, as a file: a function of the processor's template."""

    def save(template: str | None):
        tokenizer = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
        if template:
            special = [("<s>", BOS), ("</s>", EOS)]
            tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return load_tokenizer(tmp_path / "tokenizer.json")

    return save


def test_special_tokens_in_a_text_are_text_and_in_a_prompt_they_are_not(saved):
    tokenizer, text = saved(None), "un </s> deux<s>"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert not {BOS, EOS} & set(ids) and tokenizer.decode(ids) == text
    assert [each for each in prompt_ids(tokenizer, text) if each in (BOS, EOS)] == [EOS, BOS]
    assert tokenizer.encode(text, add_special_tokens=False).ids == ids  # as it was


@pytest.mark.parametrize(
    ("template", "first"), [(None, None), ("<s> $A", BOS), ("<s> $A </s>", BOS), ("$A </s>", None), ("</s> $A", EOS)]
)
def test_a_prompt_begins_as_its_tokenizer_begins_and_never_ends_in_eos(saved, template, first):
    tokenizer = saved(template)
    inner = tokenizer.encode("un deux", add_special_tokens=False).ids
    assert begins_with(tokenizer) == first
    assert prompt_ids(tokenizer, "un deux") == [*([] if first is None else [first]), *inner]
    assert prompt_ids(tokenizer, "un deux", begin=False) == inner


@pytest.mark.parametrize(
    ("description", "wanted", "expected"),
    [
        ({"bos_token_id": 5, "begins_with": None}, None, None),
        ({"bos_token_id": 5, "begins_with": None}, True, 5),
        ({"bos_token_id": 5, "begins_with": 6}, None, 6),
        ({"bos_token_id": 5, "begins_with": 5}, False, None),
        ({"bos_token_id": 5}, None, 5),
        ({"bos_token_id": None, "begins_with": None}, None, None),
    ],
)
def test_bos_is_chosen_or_what_the_tokenizer_does(description, wanted, expected):
    assert chosen_bos(description, wanted, "tiny fr", "tokens.bos") == expected


def test_a_bos_that_is_not_there_is_refused_by_the_key_that_wants_it():
    with pytest.raises(LapeError, match=r"tiny fr: the tokenizer has no BOS token .* set tokens\.bos, or the model's"):
        chosen_bos({"bos_token_id": None, "begins_with": None}, True, "tiny fr", "tokens.bos")


def test_a_bos_beyond_the_embedding_counts_as_none(tmp_path, lape):
    folder = make_model(tmp_path / "tiny")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "<new>"})
    tokenizer.save_pretrained(folder)
    words = ["--name", "tiny", "--path", folder, "--device", "cpu", "--output", tmp_path / "model.json"]
    status, messages = lape("model", *words)
    assert status == 0 and "the model has 400 embeddings, and none of '<new>' (id 400)" in messages
    header = read_json(tmp_path / "model.json", "model")
    assert (header["bos_token_id"], header["begins_with"]) == (None, None)
