"""Questions and their answers: what a notebook asks a model, in any block that perturbs it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lape.artifacts.shipped import default_config
from lape.errors import LapeError
from lape.generation.answers import split_thoughts
from lape.generation.decoding import greedy_answers, padded_length
from lape.generation.prompts import Template
from lape.model.decoder import context_length
from lape.model.tokenizer import backend_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def answer(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", question: str, **settings) -> str:
    """The model's answer to one question; see `answers`."""
    return answers(model, tokenizer, [question], **settings)[0]


def answers(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    questions: Sequence[str],
    *,
    max_tokens: int = 64,
    chat: bool | None = None,
    repetition_penalty: float | None = None,
) -> list[str]:
    """The model's answers to some questions, by greedy search as in the workflow.

    It works inside the blocks of `deactivate`, `steer`, `switch`, `perturbed`, `overwritten` and `zeroed`.

    Args:
        model: a Hugging Face causal LM.
        tokenizer: its fast tokenizer.
        questions: the questions; they are asked in one batch.
        max_tokens: tokens of an answer, at most.
        chat: ask through the tokenizer's chat template. False continues "Q: <question>\\nA:", the workflow's default
            prompt, and ends before the next question. None: the chat template where the tokenizer has one.
        repetition_penalty: penalty of tokens that were there before; None for that of the default configuration, 1.1.

    Returns:
        an answer for each question, without white space around it and without a model's thoughts before it.

    Raises:
        LapeError: a question and its answer leave the model's context, a template is wanted that the tokenizer lacks,
            or the tokenizer is not fast.
    """
    settings, backend = default_config()["generation"], backend_of(tokenizer)
    if chat is None:
        chat = getattr(tokenizer, "chat_template", None) is not None
    text = settings["chat_template" if chat else "template"].replace("{suffix}", "")
    template = Template(text, None, tokenizer if chat else None)
    prompts = [template.prompt(question, "") for question in questions]
    ids = [template.encode(backend, prompt) for prompt in prompts]
    check_context(model, ids, max_tokens)
    found = greedy_answers(
        model,
        backend,
        ids,
        max_new_tokens=max_tokens,
        stop=() if chat else settings["stop"],
        repetition_penalty=settings["repetition_penalty"] if repetition_penalty is None else repetition_penalty,
        batch_size=max(len(ids), 1),
    )
    return [split_thoughts(prompt, each.text)[1] for prompt, each in zip(prompts, found, strict=True)]


def check_context(model: "PreTrainedModel", prompts: Sequence[Sequence[int]], max_tokens: int) -> None:
    """Check that prompts, given by their token ids, and their answers fit into a model's context.

    Raises:
        LapeError: one does not.
    """
    context = context_length(model)
    if context and padded_length(model, prompts, max_tokens) + max_tokens > context:
        raise LapeError(
            f"the question takes {max(map(len, prompts))} tokens, with {max_tokens} of an answer more than the context "
            f"of {context}; shorten it or lower max_tokens"
        )
