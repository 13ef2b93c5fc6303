"""Answers by greedy search or by sampling, batch by batch. An answer does not depend on the rest of its batch."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lape.errors import LapeError
from lape.generation.answers import trimmed
from lape.model.decoder import context_length, input_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Matrix products of fewer rows use other kernels, whose sums round differently. So a batch is filled up to a multiple
# of this number of rows.
_ROWS = 8
# Attention sums over padding as over text, with weights of zero. Zeros change no bit of a sum if they shift its terms
# by whole vectors. So prompts are padded to a multiple of this number of positions.
_POSITIONS = 16
# Probabilities that are added up before a drawn token is looked for among them.
_BLOCK = 512


@dataclass(frozen=True)
class Answer:
    """An answer of a model.

    Attributes:
        tokens: the generated ids without EOS.
        text: the decoded tokens, trimmed by `answers.trimmed`.
        finish_reason: "eos", "stop" (a stop string) or "length".
    """

    tokens: list[int]
    text: str
    finish_reason: str


@torch.inference_mode()
def greedy_answers(
    model: "PreTrainedModel",
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    repetition_penalty: float = 1.0,
    batch_size: int = 8,
    use_cache: bool = True,
    on_batch: Callable[[int, int], None] = lambda answers, tokens: None,
    processors: Callable[[Sequence[int], int], list[LogitsProcessor]] = lambda places, length: [],
    on_token: Callable[[list[Answer]], None] | None = None,
) -> list[Answer]:
    """Greedy answers to some prompts.

    All prompts are padded on the left to the `padded_length` of the call, and a batch is filled up to a multiple of
    eight rows. An answer therefore does not depend on other prompts or on the size of its batch. This holds where the
    device's matrix products compute a row in the same way for any number of rows, as they do in bfloat16 on a CPU.
    Elsewhere sums may round differently.

    Args:
        model: a Hugging Face causal LM.
        tokenizer: the model's tokenizer, of the library tokenizers.
        prompts: token ids of each prompt, with BOS where the model needs it.
        max_new_tokens: largest number of tokens in an answer.
        stop: strings that end an answer.
        repetition_penalty: penalty of tokens that are in the prompt or the answer already. 1 is no penalty; the paper
            uses 1.1.
        batch_size: prompts per forward pass, filled up to a multiple of eight.
        use_cache: False computes prompt and answer anew for each token.
        on_batch: called after each batch with its number of answers and its number of fed tokens, which includes
            padding and filling.
        processors: from the places of a batch's rows among the prompts, and the padded length of the prompts, to
            further changes of the batch's logits.
        on_token: called after each step with the batch's answers so far. One that has not ended says "length".

    Returns:
        an answer for each prompt.
    """
    device = input_device(model)
    length = padded_length(model, prompts, max_new_tokens)
    found = []
    for start in range(0, len(prompts), batch_size):
        places = list(range(start, min(start + batch_size, len(prompts))))
        batch = filled_up(places)
        filled = [prompts[place] for place in batch]
        # A prompt is padded with its own first token, so that the repetition penalty applies to no further token.
        ids = torch.tensor([[ids[0]] * (length - len(ids)) + list(ids) for ids in filled], device=device)
        mask = torch.tensor([[0] * (length - len(ids)) + [1] * len(ids) for ids in filled], device=device)
        stopping = _Stop(tokenizer, stop, length, len(filled))
        with _no_defaults(model) as own:
            read = partial(_read, tokenizer, stop, own.eos_token_id, stopping, len(places))
            told = [] if on_token is None else [_Told(length, read, on_token)]
            generated = model.generate(
                ids,
                attention_mask=mask,
                generation_config=GenerationConfig(
                    do_sample=False,
                    max_new_tokens=max_new_tokens,
                    repetition_penalty=repetition_penalty,
                    eos_token_id=own.eos_token_id,
                    bos_token_id=own.bos_token_id,
                    pad_token_id=int(ids[0, 0]),  # any token: it follows the end of an answer and is never read
                    use_cache=use_cache,
                ),
                logits_processor=LogitsProcessorList(processors(batch, length)),
                stopping_criteria=StoppingCriteriaList([stopping, *told]),
            )
        found += read(generated[:, length:])
        passes = generated.shape[1] - length
        fed = length + passes - 1 if use_cache else passes * length + passes * (passes - 1) // 2
        on_batch(len(places), len(batch) * fed)
    return found


def filled_up(rows: Sequence) -> list:
    """The rows of a batch, filled up with its last row."""
    return [*rows, *[rows[-1]] * (-len(rows) % _ROWS)]


def padded_length(model: "PreTrainedModel", prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """The number of positions to which prompts are padded: a multiple of 16.

    Prompts of one token, such as BOS, stay as they are. So do the longest prompts where the model's context has no room
    for more.
    """
    longest = max(map(len, prompts), default=0)
    padded = longest + -longest % _POSITIONS if longest > 1 else longest
    context = context_length(model)
    return padded if context is None or padded + max_new_tokens <= context else longest


def sampled_answers(
    model: "PreTrainedModel",
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    **settings,
) -> list[Answer]:
    """Sampled answers to some prompts, each with a seed of its own.

    A seed's random numbers, one per token, are drawn first. Each number chooses its token by the inverse of the
    cumulative distribution. An answer therefore depends on its prompt and its seed alone, within the limits that
    `greedy_answers` names. A seed has the same random numbers under every perturbation.

    Args:
        model, tokenizer, prompts, max_new_tokens: as for `greedy_answers`.
        seeds: the seed of each prompt.
        temperature: logits are divided by it; above 0.
        top_k, top_p: restrict the draw to the most probable tokens: top_k by their number, top_p by their total
            probability. None is no restriction.
        **settings: further arguments of `greedy_answers`.

    Returns:
        an answer for each prompt.

    Raises:
        LapeError: a probability is NaN or infinite.
    """
    sources = (torch.Generator().manual_seed(seed) for seed in seeds)
    numbers = [torch.rand(max_new_tokens, dtype=torch.float64, generator=source) for source in sources]
    warpers = [TemperatureLogitsWarper(float(temperature))]
    warpers += [TopKLogitsWarper(top_k)] if top_k is not None else []
    warpers += [TopPLogitsWarper(top_p)] if top_p is not None else []

    def processors(places: Sequence[int], length: int) -> list[LogitsProcessor]:
        return [*warpers, _Draw(torch.stack([numbers[place] for place in places]), length)]

    return greedy_answers(model, tokenizer, prompts, max_new_tokens=max_new_tokens, processors=processors, **settings)


class _Stop(StoppingCriteria):
    """Ends a row once its text holds a stop string, and records how many tokens the row has then."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], prompt_length: int, rows: int):
        self._tokenizer, self._stop, self._prompt_length = tokenizer, stop, prompt_length
        # Only the last tokens are decoded. A token covers at least one byte, so a stop string has no more tokens than
        # bytes. Four more tokens complete a character whose bytes are tokens of their own.
        self._tail = max((len(text.encode()) for text in stop), default=0) + 4
        self.sizes = torch.full((rows,), torch.iinfo(torch.int64).max)

    def __call__(self, input_ids: Tensor, scores: Tensor, **_) -> Tensor:
        size = input_ids.shape[1] - self._prompt_length
        tails = input_ids[:, max(self._prompt_length, input_ids.shape[1] - self._tail) :].tolist()
        for row, text in enumerate(self._tokenizer.decode_batch(tails) if self._stop else ()):
            if self.sizes[row] > size and any(stop in text for stop in self._stop):
                self.sizes[row] = size
        return (self.sizes <= size).to(input_ids.device)


class _Told(StoppingCriteria):
    """Tells the answers so far after each token, and ends none."""

    def __init__(
        self, prompt_length: int, read: Callable[[Tensor], list[Answer]], on_token: Callable[[list[Answer]], None]
    ):
        self._prompt_length, self._read, self._on_token = prompt_length, read, on_token

    def __call__(self, input_ids: Tensor, scores: Tensor, **_) -> Tensor:
        self._on_token(self._read(input_ids[:, self._prompt_length :]))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class _Draw(LogitsProcessor):
    """Makes the token that a row's random number chooses the row's most probable one."""

    def __init__(self, numbers: Tensor, prompt_length: int):
        self._numbers, self._prompt_length = numbers, prompt_length  # float64 [rows, max_new_tokens], in [0, 1)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # The numbers are in (0, 1]: 0 could choose a token of probability 0.
        numbers = 1 - self._numbers[:, input_ids.shape[1] - self._prompt_length].to(scores.device)
        # One row at a time: the float64 probabilities of all rows would take twice the memory of their logits.
        tokens = torch.stack([_drawn(row, number) for row, number in zip(scores, numbers, strict=True)])
        if (tokens == scores.shape[1]).any():
            raise LapeError("a token's probability is NaN or infinite; set the model's dtype to float32 or bfloat16")
        return scores.scatter_(1, tokens[:, None], torch.inf)


def _drawn(logits: Tensor, number: Tensor) -> Tensor:
    """The first token at which the cumulative probability reaches a number; the number of tokens where none does.

    Whole blocks of probabilities are added up first. The cumulative sum is then taken in one block.
    """
    weights = (logits - logits.max()).exp_()
    blocks = nn.functional.pad(weights, (0, -len(weights) % _BLOCK)).view(-1, _BLOCK)
    ends = blocks.sum(1, dtype=torch.float64).cumsum(0)
    wanted = number * ends[-1]
    found = torch.searchsorted(ends, wanted)
    block = found.clamp(max=len(blocks) - 1)[None]
    before = nn.functional.pad(ends, (1, 0)).index_select(0, block)
    cumulative = before + blocks.index_select(0, block)[0].cumsum(0, dtype=torch.float64)
    # A block's sum, rounded, may be above its cumulative sum's end.
    token = block[0] * _BLOCK + torch.searchsorted(cumulative, torch.minimum(wanted, cumulative[-1]))
    return torch.where(found < len(blocks), token, len(logits))


def _read(
    tokenizer: Tokenizer,
    stop: Sequence[str],
    eos: int | list[int] | None,
    stopping: _Stop,
    rows: int,
    generated: Tensor,
) -> list[Answer]:
    """The answers in the first rows of what was generated, int64 [B, n], which `stopping` has seen."""
    ends = eos if isinstance(eos, list) else [eos]
    sizes = stopping.sizes.tolist()[:rows]
    return [
        _answer(tokenizer, row[:size], ends, stop) for row, size in zip(generated[:rows].tolist(), sizes, strict=True)
    ]


def _answer(tokenizer: Tokenizer, tokens: list[int], ends: Sequence[int | None], stop: Sequence[str]) -> Answer:
    """The answer in generated tokens, cut at its end, with the reason why it ended."""
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    text, stopped = trimmed(tokenizer.decode(tokens[:end]), stop)
    return Answer(tokens[:end], text, "stop" if stopped else "length" if end is None else "eos")


@contextlib.contextmanager
def _no_defaults(model: "PreTrainedModel") -> Iterator[GenerationConfig]:
    """Keep the checkpoint's settings of generation from filling in defaults within the block, and yield them."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield own
    finally:
        model.generation_config = own
