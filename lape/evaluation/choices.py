"""Which of the choices of a question a model finds likeliest: log-likelihoods after a prompt, and the accuracy.

A row is a prompt with a choice but for the choice's last token, which no other token follows. A row that begins another
row of its question is not run: where all choices are one token long, a question is one row, its prompt. A model that
reads on from its cache reads a prompt once for all rows of a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from lape.errors import LapeError
from lape.evaluation.perplexity import hidden_nll
from lape.kernels import ops
from lape.model.decoder import context_length, decoder_of, eos_token, input_device
from lape.model.tokenizer import prompt_ids
from lape.text.choice_question import Question

# Score of a choice -> its values, from a table with the columns of `answers`. In the words of lm-evaluation-harness the
# accuracies are acc, acc_bytes and acc_mutual_info.
SCORES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "sum": lambda table: table["loglik"],
    "bytes": lambda table: table["loglik"] / table["bytes"],
    "calibrated": lambda table: table["loglik"] - table["prior"],
}


class _Row(NamedTuple):
    """What is run for one choice, or for several of which one begins the others."""

    question: int  # its place
    prompt: tuple[int, ...]  # ids that rows share; none where the model reads whole rows
    rest: tuple[int, ...]  # ids behind them

    def begins_with(self, ids: Sequence[int]) -> bool:
        return (self.prompt + self.rest)[: len(ids)] == tuple(ids)


_Batch = Sequence[_Row]  # of prompts of one length


@dataclass(frozen=True)
class ChoiceTemplate:
    """How a question with choices becomes a prompt and what follows the prompt.

    Attributes:
        text: a text with {question} that ends with {choice}. White space before {choice} belongs to the choice, as
            tokenizers join it to the next word.
    """

    text: str

    def __post_init__(self):
        if "{question}" not in self.text or not self.text.endswith("{choice}") or self.text.count("{choice}") > 1:
            raise LapeError(f"template {self.text!r}: has no {{question}}, or no {{choice}} at its end; write both")

    def prompt(self, question: str) -> str:
        """The text before the choice."""
        return self.text.removesuffix("{choice}").rstrip().replace("{question}", question)

    @property
    def delimiter(self) -> str:
        """The white space between the prompt and the choice."""
        before = self.text.removesuffix("{choice}")
        return before[len(before.rstrip()) :]

    def whole(self, question: str, choice: str) -> str:
        """The prompt and the choice."""
        return self.prompt(question) + self.delimiter + choice


@dataclass(frozen=True)
class _Encoded:
    """One prompt with its choices as tokens: the rows to run, and of each choice its row and its first place."""

    wholes: list[list[int]]
    common: int  # tokens that all choices share

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, template: ChoiceTemplate, prefix: int | None, question: str, choices: Sequence[str]
    ) -> "_Encoded":
        wholes = [prompt_ids(tokenizer, template.whole(question, choice)) for choice in choices]
        prompt = prompt_ids(tokenizer, template.prompt(question))
        if not prompt and prefix is not None:
            prompt, wholes = [prefix], [[prefix, *whole] for whole in wholes]
        columns = zip(prompt, *wholes, strict=False)
        common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        common = min(common, *(len(whole) - 1 for whole in wholes))
        if not common:
            raise LapeError(
                f"template {template.text!r}: the prompt is empty for this tokenizer, and the model has no BOS or "
                "EOS to put there; write words before {question}"
            )
        return cls(wholes, common)

    def rows(self, question: int, share_prompts: bool) -> list[_Row]:
        """The rows to run, the longest first, none of which begins another."""
        rows: list[list[int]] = []
        for row in sorted((whole[:-1] for whole in self.wholes), key=len, reverse=True):
            if not any(other[: len(row)] == row for other in rows):
                rows.append(row)
        start = self.common if share_prompts else 0
        return [_Row(question, tuple(row[:start]), tuple(row[start:])) for row in rows]


@torch.inference_mode()
def choice_loglik(
    model: nn.Module,
    tokenizer: Tokenizer,
    template: ChoiceTemplate,
    asked: Sequence[tuple[str, Sequence[str]]],
    batch_size: int = 16,
    backend: str = "auto",
    prefix: int | None = None,
    share_prompts: bool = False,
    on_batch: Callable[[int], None] = lambda questions: None,
) -> tuple[list[np.ndarray], int]:
    """Log-likelihood of each choice after its prompt, summed over the choice's tokens.

    The LM head is computed at the places before the choices' tokens alone.

    Args:
        model: a Hugging Face causal LM.
        tokenizer: its tokenizer.
        template: from question and choice to text.
        asked: N questions, each with the texts of its choices.
        batch_size: rows per forward pass, which are of similar length.
        backend: the implementation of the operator that reduces the logits; see `lape.kernels.ops.resolved`.
        prefix: token id that stands for a prompt without tokens; None: such a prompt is refused. See `prefix_of`.
        share_prompts: read the prompt of several rows once, for a model that `lape.model.decoder.reads_on`.
        on_batch: called with the number of rows of each batch, for progress.

    Returns:
        for each question float64 [choices], in nats; and the number of positions that were read, padding included.

    Raises:
        LapeError: a likelihood is not finite, a prompt is empty, or a question leaves the model's context.
    """
    backend = ops.resolved(backend, input_device(model))
    encoded = [_Encoded.of(tokenizer, template, prefix, *each) for each in asked]
    values, read = [np.full(len(each.wholes), np.nan) for each in encoded], 0
    context = context_length(model)
    longest = max((len(whole) - 1 for each in encoded for whole in each.wholes), default=0)
    if context and longest > context:
        raise LapeError(
            f"a question takes {longest} tokens with its choice, more than the context of {context}; shorten it, or "
            "leave its id out by `skip`"
        )
    for batch in _batches(encoded, batch_size, share_prompts):
        _score(model, batch, encoded, values, backend)
        read += _size(batch)
        on_batch(len(batch))
    if not all(np.isfinite(each).all() for each in values):
        raise LapeError("a likelihood is NaN or infinite; set the model's dtype to float32 or bfloat16")
    return values, read


def prefix_of(model: PreTrainedModel, description: Mapping) -> int | None:
    """The token that stands for an empty prompt: BOS, or EOS where there is none, as in lm-evaluation-harness.

    Args:
        model: a Hugging Face causal LM.
        description: the header of its artifact.
    """
    if description["bos_token_id"] is not None:
        return description["bos_token_id"]
    return eos_token(model)


def positions_read(
    tokenizer: Tokenizer,
    template: ChoiceTemplate,
    asked: Sequence[tuple[str, Sequence[str]]],
    batch_size: int,
    prefix: int | None = None,
    share_prompts: bool = False,
) -> int:
    """The number of positions that `choice_loglik` reads, padding included."""
    encoded = [_Encoded.of(tokenizer, template, prefix, *each) for each in asked]
    return sum(map(_size, _batches(encoded, batch_size, share_prompts)))


def _batches(encoded: Sequence[_Encoded], batch_size: int, share_prompts: bool) -> Iterator[_Batch]:
    """The rows of all questions in batches, the longest first. Rows of one prompt stand together."""
    rows = [row for number, each in enumerate(encoded) for row in each.rows(number, share_prompts)]
    longest: dict[tuple[int, ...], int] = {}
    for row in rows:
        longest[row.prompt] = max(longest.get(row.prompt, 0), len(row.rest))
    rows.sort(key=lambda row: (len(row.prompt), longest[row.prompt], row.prompt, len(row.rest)), reverse=True)
    for _, group in groupby(rows, key=lambda row: len(row.prompt)):
        alike = list(group)
        yield from (alike[start : start + batch_size] for start in range(0, len(alike), batch_size))


def _size(batch: _Batch) -> int:
    return sum(map(len, _prompts(batch))) + len(batch) * max(len(row.rest) for row in batch)


def _prompts(batch: _Batch) -> list[tuple[int, ...]]:
    """The prompts of a batch, each once."""
    return list(dict.fromkeys(row.prompt for row in batch))


def _score(
    model: nn.Module, batch: _Batch, encoded: Sequence[_Encoded], values: list[np.ndarray], backend: str
) -> None:
    """Run one batch of rows, and fill in the values of the choices that they hold."""
    decoder, prompt = decoder_of(model), len(batch[0].prompt)
    found = [
        (line, row.question, choice, place, whole[place])
        for line, row in enumerate(batch)
        for choice, whole in enumerate(encoded[row.question].wholes)
        if np.isnan(values[row.question][choice]) and row.begins_with(whole[:-1])
        for place in range(encoded[row.question].common, len(whole))
    ]
    output, hidden = _read(decoder, batch, input_device(model))
    lines, _, _, places, targets = (torch.tensor(column, device=hidden.device) for column in zip(*found, strict=True))
    previous = torch.tensor([[encoded[number].wholes[choice][place - 1] for _, number, choice, place, _ in found]])
    states = hidden[lines, places - max(prompt, 1)][None]
    nll = hidden_nll(model, decoder, output, states, previous.to(input_device(model)), targets, backend)
    for (_, number, choice, place, _), value in zip(found, nll.double().cpu().tolist(), strict=True):
        start = 0.0 if place == encoded[number].common else values[number][choice]
        values[number][choice] = start - value


def _read(decoder: nn.Module, batch: _Batch, device: torch.device) -> tuple[ModelOutput, Tensor]:
    """What the decoder returns, and the hidden states of a batch's rows, from the last place of their prompts on."""
    prompts = _prompts(batch)
    length = max(len(row.rest) for row in batch)
    # The padding on the right may have any ids: causal attention hides it from the tokens.
    rests = torch.tensor([[*row.rest, *[0] * (length - len(row.rest))] for row in batch], device=device)
    if not batch[0].prompt:
        output = decoder(input_ids=rests, use_cache=False)
        return output, output.last_hidden_state
    own = torch.tensor([prompts.index(row.prompt) for row in batch])
    output = decoder(input_ids=torch.tensor(prompts, device=device), use_cache=length > 0)
    last = output.last_hidden_state[own, -1:]
    if not length:
        return output, last
    output.past_key_values.batch_select_indices(own)
    output = decoder(input_ids=rests, past_key_values=output.past_key_values, use_cache=True)
    return output, torch.cat((last, output.last_hidden_state), dim=1)


def asked_of(tasks: Mapping[str, Sequence[Question]]) -> list[tuple[str, tuple[str, ...]]]:
    """What a model is asked, each once: every choice with an empty question, unless its own is empty; all questions.

    The empty questions tell what a choice is worth where nothing is asked. All languages and questions share them.

    Args:
        tasks: language -> its questions.
    """
    questions = [(each.question, tuple(each.choices)) for own in tasks.values() for each in own]
    priors = (("", (choice,)) for question, own in questions if question for choice in own)
    return list(dict.fromkeys([*priors, *questions]))


def tables_of(tasks: Mapping[str, Sequence[Question]], values: Sequence[np.ndarray]) -> dict[str, pd.DataFrame]:
    """Language -> the table of `answers`, from the log-likelihoods of what `asked_of` asks."""
    found = dict(zip(asked_of(tasks), values, strict=True))
    priors = {choices[0]: float(own[0]) for (_, choices), own in found.items() if len(choices) == 1}
    return {
        language: answers(questions, [found[each.question, tuple(each.choices)] for each in questions], priors)
        for language, questions in tasks.items()
    }


def answers(questions: Sequence[Question], loglik: Sequence[np.ndarray], priors: Mapping[str, float]) -> pd.DataFrame:
    """The likelihoods of one language as a table.

    Args:
        questions: N questions.
        loglik: of each question's choices.
        priors: choice -> its log-likelihood after the prompt of an empty question; of a choice whose question is empty
            its log-likelihood is taken.

    Returns:
        one row per question and choice, with the columns id, choice (place, from 0), right (1 for the right choice),
        loglik, prior (nats) and bytes (see `size`).
    """
    return pd.DataFrame(
        {
            "id": question.id,
            "choice": choice,
            "right": int(choice == question.answer),
            "loglik": loglik[number][choice],
            "prior": priors[text] if question.question else loglik[number][choice],
            "bytes": size(text),
        }
        for number, question in enumerate(questions)
        for choice, text in enumerate(question.choices)
    )


def size(choice: str) -> int:
    """Bytes of a choice in UTF-8, without the white space that joins it to its prompt."""
    return len(choice.lstrip().encode())


def correct(table: pd.DataFrame, score: str) -> pd.Series:
    """Whether the likeliest choice of each question is the right one, 0.0 or 1.0, by id in ascending order.

    Of choices of equal score the first counts.

    Args:
        table: with the columns of `answers`.
        score: one of `SCORES`.
    """
    ordered = table.assign(score=SCORES[score](table)).sort_values(["id", "choice"], ignore_index=True)
    best = ordered.loc[ordered.groupby("id", sort=True)["score"].idxmax()]
    return best.set_index("id")["right"].astype(float)


def accuracies(table: pd.DataFrame) -> dict[str, float]:
    """The share of right answers by every score, as accuracy_<score>."""
    return {f"accuracy_{score}": float(correct(table, score).mean()) for score in SCORES}
