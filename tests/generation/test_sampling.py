"""Sampled answers: drawn from the model's distribution, the same in any batch, and as a plain loop draws them."""

import numpy as np
import pytest
import torch
from architectures import tiny
from scipy.stats import chisquare
from tokenizers import Tokenizer

from lape.errors import LapeError
from lape.generation.decoding import greedy_answers, sampled_answers

PROMPT, SEEDS = [0], range(1, 13)
SETTINGS = {"max_new_tokens": 8, "temperature": 0.8, "batch_size": 12}


@pytest.fixture
def tokenizer(tiny_folder) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))


def sampled(model, tokenizer, seeds=SEEDS, prompt=PROMPT, **settings) -> list[list[int]]:
    found = sampled_answers(model, tokenizer, [prompt] * len(seeds), list(seeds), **SETTINGS | settings)
    return [answer.tokens for answer in found]


@torch.inference_mode()
def probabilities(model, ids: list[int], temperature: float) -> np.ndarray:
    """Of the next token, in float64."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy() / temperature
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def plainly(model, seed: int, length: int, temperature: float, ends: list[int]) -> list[int]:
    """One token after the other, each where the seed's next number falls in the cumulative distribution."""
    numbers = torch.rand(length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tolist()
    ids = list(PROMPT)
    for number in numbers:
        cumulative = np.cumsum(probabilities(model, ids, temperature))
        token = next(token for token, reached in enumerate(cumulative) if reached >= 1 - number)
        if token in ends:
            break
        ids.append(token)
    return ids[len(PROMPT) :]


@pytest.mark.parametrize("temperature", [0.8, 1.7])
def test_texts_are_those_of_a_plain_loop(tiny_model, tokenizer, temperature):
    found = sampled(tiny_model, tokenizer, temperature=temperature)
    assert found == [plainly(tiny_model, seed, 8, temperature, [1]) for seed in SEEDS]
    assert len(set(map(tuple, found))) > 8
    ends = [found[0][3], found[1][5]]
    tiny_model.generation_config.eos_token_id = ends
    ended = sampled_answers(
        tiny_model, tokenizer, [PROMPT] * len(SEEDS), SEEDS, **SETTINGS | {"temperature": temperature}
    )
    assert [answer.tokens for answer in ended] == [plainly(tiny_model, seed, 8, temperature, ends) for seed in SEEDS]
    assert [answer.finish_reason for answer in ended[:2]] == ["eos", "eos"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("limits", [{}, {"top_k": 7, "top_p": 0.7}])
def test_a_seed_has_the_same_text_in_any_batch(tiny_model, tokenizer, dtype, limits):
    tiny_model.to(dtype)
    together = sampled(tiny_model, tokenizer, **limits)
    assert sampled(tiny_model, tokenizer, batch_size=5, **limits) == together
    assert sampled(tiny_model, tokenizer, [7], **limits) == [together[6]]
    assert sampled(tiny_model, tokenizer, [11, 2, 2], **limits) == [together[10], together[1], together[1]]
    assert sampled(tiny_model, tokenizer, [3, 4], batch_size=1, **limits) == together[2:4]


@pytest.mark.parametrize("model_type", ["bloom", "gpt2", "mixtral", "xglm"])
def test_a_cache_changes_no_text(model_type, tokenizer):
    model = tiny(model_type, initializer_range=0.5, init_std=0.5)
    cached = sampled(model, tokenizer, prompt=[3, 5])
    assert sampled(model, tokenizer, prompt=[3, 5], use_cache=False, batch_size=4) == cached
    assert len(set(map(tuple, cached))) > 6


def test_a_shorter_text_is_the_beginning_of_a_longer_one(tiny_model, tokenizer):
    short, long = (sampled(tiny_model, tokenizer, max_new_tokens=length) for length in (5, 8))
    assert short == [tokens[:5] for tokens in long] != long


@pytest.mark.parametrize(
    ("limits", "kept"),
    [({}, lambda p: p > 0), ({"top_k": 5}, lambda p: p >= np.sort(p)[-5]), ({"top_p": 0.6}, lambda p: nucleus(p, 0.6))],
)
def test_tokens_are_drawn_from_the_models_distribution(tiny_model, tokenizer, limits, kept):
    draws = 4000
    found = sampled(tiny_model, tokenizer, range(draws), batch_size=400, max_new_tokens=1, **limits)
    # Where the end of text is drawn there is no token.
    counts = np.bincount([tokens[0] if tokens else 1 for tokens in found], minlength=400)
    expected = probabilities(tiny_model, PROMPT, 0.8)
    expected = np.where(kept(expected), expected, 0)
    expected = draws * expected / expected.sum()
    assert counts[expected == 0].sum() == 0
    rare = expected < 5  # the test wants five or more of each
    assert (~rare).sum() > 3
    observed, wanted = ([*each[~rare], each[rare].sum()] for each in (counts, expected))
    both = [(a, b) for a, b in zip(observed, wanted, strict=True) if b > 0]
    assert chisquare(*zip(*both, strict=True)).pvalue > 1e-3


def nucleus(p: np.ndarray, share: float) -> np.ndarray:
    """The fewest tokens that hold so much probability together (Holtzman et al. 2020)."""
    order = np.argsort(-p)
    size = int(np.searchsorted(np.cumsum(p[order]), share)) + 1
    return np.isin(np.arange(len(p)), order[:size])


def test_near_no_temperature_is_greedy(tiny_model, tokenizer):
    (greedy,) = greedy_answers(tiny_model, tokenizer, [PROMPT], max_new_tokens=8)
    assert sampled(tiny_model, tokenizer, temperature=1e-4) == [greedy.tokens] * len(SEEDS)


def test_stop_strings_and_repetition_count_as_in_greedy_search(tiny_model, tokenizer):
    prompts, settings = [PROMPT] * len(SEEDS), SETTINGS | {"stop": ["ou", "e"]}
    found = sampled_answers(tiny_model, tokenizer, prompts, list(SEEDS), **settings)
    assert {answer.finish_reason for answer in found} >= {"stop"}
    assert all("e" not in answer.text for answer in found)
    penalised = sampled(tiny_model, tokenizer, repetition_penalty=1e9)
    assert all(len(set(tokens)) == len(tokens) for tokens in penalised)


def test_a_checkpoints_own_settings_of_sampling_do_not_count(tiny_model, tokenizer):
    expected = sampled(tiny_model, tokenizer)
    tiny_model.generation_config.update(do_sample=True, temperature=9.0, top_k=1, top_p=0.1)
    assert sampled(tiny_model, tokenizer) == expected


def test_probabilities_that_are_no_numbers_are_refused(tiny_model, tokenizer):
    with torch.no_grad():
        tiny_model.model.norm.weight[0] = torch.nan
    with pytest.raises(LapeError, match="NaN or infinite; set the model's dtype"):
        sampled(tiny_model, tokenizer)
