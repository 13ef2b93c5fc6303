"""Greedy answers: the same in any batch, with and without a cache, and as a plain loop finds them."""

import json
import re

import numpy as np
import pytest
import torch
from architectures import tiny
from tiny_data import make_model
from tokenizers import Tokenizer

from lape.errors import LapeError
from lape.generation.answers import split_thoughts, trimmed
from lape.generation.decoding import Answer, greedy_answers, padded_length
from lape.generation.pipeline import Wanted
from lape.generation.prompts import Template, chat_tokenizer
from lape.interventions.perturbation import Perturbation, perturbed
from lape.model.ffn import find_ffn

PROMPTS = [[0, 5, 9], [0, 40, 41, 42, 43, 44, 45, 46], [0, 7], [0, 100, 3, 100, 3], [0, 9, 9, 9], [0, 250, 251, 17]]
PROMPTS += [[0, *range(60, 80)], [0, 33, 12]]
SETTINGS = {"max_new_tokens": 12, "repetition_penalty": 1.3}


@pytest.fixture
def tokenizer(tiny_folder) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))


def texts(found) -> list:
    return [(answer.tokens, answer.text, answer.finish_reason) for answer in found]


@torch.inference_mode()
def plainly(model, prompt: list[int], length: int, penalty: float, end: int) -> list[int]:
    """Greedy search by the definition (Keskar et al. 2019): no batch, no padding, no cache."""
    ids = list(prompt)
    while len(ids) < len(prompt) + length:
        scores = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy()
        for token in set(ids):
            scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
        token = int(np.argmax(scores))
        if token == end:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_answers_are_those_of_a_plain_loop(tiny_model, tokenizer):
    found = greedy_answers(tiny_model, tokenizer, PROMPTS, batch_size=3, **SETTINGS)
    assert [answer.tokens for answer in found] == [plainly(tiny_model, prompt, 12, 1.3, 1) for prompt in PROMPTS]
    assert len({tuple(answer.tokens) for answer in found}) > 4
    assert [answer.text for answer in found] == [tokenizer.decode(answer.tokens).strip() for answer in found]


def test_answers_are_told_as_they_grow(tiny_model, tokenizer):
    told = []
    found = greedy_answers(tiny_model, tokenizer, PROMPTS[:3], on_token=told.append, stop=["près"], **SETTINGS)
    assert texts(told[-1]) == texts(found) and {len(each) for each in told} == {3}
    for number, answer in enumerate(found):
        lengths = [len(each[number].tokens) for each in told]
        assert lengths == [min(step, len(answer.tokens)) for step in range(1, len(told) + 1)]
    assert texts(greedy_answers(tiny_model, tokenizer, PROMPTS[:3], stop=["près"], **SETTINGS)) == texts(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_at_once_are_eight_one_by_one(tiny_model, tokenizer, dtype):
    tiny_model.to(dtype)
    together = texts(greedy_answers(tiny_model, tokenizer, PROMPTS, batch_size=8, **SETTINGS))
    for size in (1, 3, 5):
        assert texts(greedy_answers(tiny_model, tokenizer, PROMPTS, batch_size=size, **SETTINGS)) == together


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_answer_does_not_depend_on_longer_prompts(tiny_model, tokenizer, dtype):
    tiny_model.to(dtype)
    alone = texts(greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS))
    longer = [*PROMPTS, [5] * 40]
    lengths = [padded_length(tiny_model, prompts, 12) for prompts in (PROMPTS, longer)]
    assert lengths[0] < lengths[1] and not any(length % 16 for length in lengths)
    assert texts(greedy_answers(tiny_model, tokenizer, longer, **SETTINGS))[:-1] == alone


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_a_cache_changes_no_answer_under_a_perturbation(tiny_model, tokenizer, positions):
    edit = Perturbation({0: np.arange(8), 2: np.arange(16)}, "set", 2.0, positions)
    plain = texts(greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS))
    with perturbed(tiny_model, edit, prompt_length=padded_length(tiny_model, PROMPTS, 12)):
        cached = texts(greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS))
        whole = texts(greedy_answers(tiny_model, tokenizer, PROMPTS, use_cache=False, **SETTINGS))
    assert cached == whole != plain


def test_every_position_that_is_fed_is_counted(tiny_model, tokenizer):
    for use_cache in (True, False):
        fed = []
        with perturbed(tiny_model, Perturbation({1: np.array([4])})) as firing:
            greedy_answers(
                tiny_model,
                tokenizer,
                PROMPTS,
                batch_size=4,
                use_cache=use_cache,
                on_batch=lambda number, tokens, fed=fed: fed.append((number, tokens)),
                **SETTINGS,
            )
        assert [number for number, _ in fed] == [4, 4]
        assert firing.rows == {1: sum(tokens for _, tokens in fed)}


def test_why_an_answer_ends(tiny_model, tokenizer):
    whole = greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS)
    assert {answer.finish_reason for answer in whole} <= {"length", "eos"}
    stop = next(found[0] for answer in whole if (found := re.search("[a-z]{2}", answer.text)))
    for answer, cut in zip(
        whole, greedy_answers(tiny_model, tokenizer, PROMPTS, stop=["@@@", stop], **SETTINGS), strict=True
    ):
        if stop in tokenizer.decode(answer.tokens):
            assert cut.finish_reason == "stop" and stop in tokenizer.decode(cut.tokens)
            assert cut.text == tokenizer.decode(answer.tokens).split(stop)[0].strip()
            # It ended with the token that completed the string.
            assert cut.tokens == answer.tokens[: len(cut.tokens)] and stop not in tokenizer.decode(cut.tokens[:-1])
        else:
            assert cut == answer
    tiny_model.generation_config.eos_token_id = [whole[0].tokens[3], 1]
    ended = greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS)[0]
    place = whole[0].tokens.index(whole[0].tokens[3])
    assert ended.finish_reason == "eos" and ended.tokens == whole[0].tokens[:place]


@pytest.mark.parametrize("model_type", ["bloom", "cohere2", "falcon", "gpt2", "mixtral", "mpt", "opt", "xglm"])
def test_every_kind_of_position_bears_padding_and_a_cache(model_type, tokenizer):
    """ALiBi, rotary, learned and sinusoidal positions, a sliding window, experts."""
    window = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
    settings = window if model_type == "cohere2" else {}
    model = tiny(model_type, initializer_range=0.5, init_std=0.5, **settings)
    prompts = [[token % 100 for token in prompt] for prompt in PROMPTS]
    edit = Perturbation({0: np.arange(0, find_ffn(model).shape[1], 2)}, "set", 1.5, "generated")
    found = texts(greedy_answers(model, tokenizer, prompts, **SETTINGS))
    assert [tokens for tokens, *_ in found] == [plainly(model, prompt, 12, 1.3, 1) for prompt in prompts]
    assert texts(greedy_answers(model, tokenizer, prompts, batch_size=1, **SETTINGS)) == found
    with perturbed(model, edit, prompt_length=padded_length(model, prompts, 12)):
        cached = texts(greedy_answers(model, tokenizer, prompts, **SETTINGS))
        whole = texts(greedy_answers(model, tokenizer, prompts, use_cache=False, **SETTINGS))
    assert cached == whole != found


def test_a_text_ends_before_a_character_that_is_cut_and_a_stop_string():
    assert trimmed(" 川は\ufffd\ufffd", ["\nQ:"]) == ("川は", False)
    assert trimmed(" yes \nA: no\nQ:", ["\nQ:", "\nA:"]) == ("yes", True)
    assert trimmed("\nQ: yes", ["\nQ:"]) == ("", True)


def test_a_checkpoints_own_settings_of_generation_do_not_count(tiny_model, tokenizer):
    expected = texts(greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS))
    tiny_model.generation_config.update(no_repeat_ngram_size=1, min_new_tokens=20, do_sample=True, temperature=9.0)
    assert texts(greedy_answers(tiny_model, tokenizer, PROMPTS, **SETTINGS)) == expected
    assert tiny_model.generation_config.no_repeat_ngram_size == 1


def test_templates(tmp_path):
    suffixes = {"fr": " En français.", "ja": "日本語で。"}
    asking = Template("Q: {question}{suffix}\nA:", suffixes)
    assert asking.prompt("Pourquoi {suffix} ?", "fr") == "Q: Pourquoi {suffix} ? En français.\nA:"
    assert Template("Q: {question}{suffix}\nA:").prompt("Why?", "fr") == "Q: Why?\nA:"
    with pytest.raises(LapeError, match="none asks for an answer in 'de'; add it"):
        asking.prompt("Warum?", "de")
    for text, given, missing in (("Q: {suffix}", None, "question"), ("Q: {question}", suffixes, "suffix")):
        with pytest.raises(LapeError, match=f"has no {{{missing}}}; write it"):
            Template(text, given)


def test_a_chat_models_own_template(tmp_path):
    folder = make_model(tmp_path / "chat")
    with pytest.raises(LapeError, match="no chat template; set the model's `chat` to false"):
        chat_tokenizer(folder, None, False)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    form = "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    settings["chat_template"] = form + "{% if add_generation_prompt %}[assistant]{% endif %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    template = Template("{question}{suffix}", {"fr": " Oui ?"}, chat_tokenizer(folder, None, False))
    prompt = template.prompt("Pourquoi ?", "fr")
    assert prompt == "<s>[user] Pourquoi ? Oui ?\n[assistant]"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert template.encode(tokenizer, prompt).count(0) == 1  # one BOS

    settings["chat_template"] += "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    quiet = Template("{question}", None, chat_tokenizer(folder, None, False), {"enable_thinking": False})
    assert quiet.prompt("Pourquoi ?", "fr").endswith("[assistant]<think></think>")


@pytest.mark.parametrize(
    ("prompt", "text", "thoughts", "answer"),
    [
        ("Q:", "Oui.", "", "Oui."),
        ("Q:", "<think>\nHe wants yes.\n</think>\n\nOui.", "He wants yes.", "Oui."),
        ("Q:", "<think>He wants", "He wants", ""),
        ("Q: <think>\n", "He wants yes.</think>Oui.", "He wants yes.", "Oui."),
        ("Q: <think>\n\n</think>\n\n", "Oui.", "", "Oui."),
        ("Q:", "[THINK]a[/THINK]b <think>", "a", "b <think>"),
        ("Q:", "Oui. <think>no</think>", "", "Oui. <think>no</think>"),
    ],
)
def test_thoughts_are_no_part_of_the_answer(prompt, text, thoughts, answer):
    assert split_thoughts(prompt, text) == (thoughts, answer)
    row = Wanted("fr", 1, [2], "fr", "Q", prompt).row(Answer([5], text, "eos"))
    assert row["output"] == answer and row.get("thoughts", "") == thoughts
