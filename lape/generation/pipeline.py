"""One pipeline for every generated text: an answer to a question, a text from BOS alone, or a translation.

What is wanted is cut into parts. Each part is written under one perturbation, proves that the perturbation fired, and
is kept over an interruption. Parts that fit into one batch are written together. In the end all parts are joined, and
the header is written.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer

from lape.artifacts.files import read_json, write_header
from lape.errors import LapeError
from lape.generation import decoding
from lape.generation.answers import split_thoughts
from lape.generation.conditions import Condition
from lape.generation.decoding import Answer, filled_up, padded_length
from lape.generation.kept_answers import KeptAnswers
from lape.kernels import ops
from lape.model.architectures import ffn_entry
from lape.model.running import Running, running

logger = logging.getLogger(__name__)
# Settings of `greedy_answers` that the commands have as options of the same names.
GREEDY = ("max_new_tokens", "stop", "repetition_penalty")


@dataclass(frozen=True)
class Wanted:
    """A text that is wanted.

    Attributes:
        target: the language that the text is to be in.
        number: of the seed, the question or the sentence.
        ids: the prompt's tokens, BOS included.
        language, question, prompt: as a row of a generations artifact has them; "" where there is only BOS.
    """

    target: str
    number: int
    ids: Sequence[int]
    language: str = ""
    question: str = ""
    prompt: str = ""

    @property
    def part(self) -> tuple[str, ...]:
        """The languages that name the part to which the text belongs."""
        return (self.language, self.target) if self.language else (self.target,)

    @property
    def place(self) -> str:
        """What messages call the prompt."""
        return f"prompt {self.number} of {' to '.join(self.part)}"

    @property
    def key(self) -> tuple[int, str]:
        """Texts of one part and one key are the same text."""
        return self.number, self.prompt

    def row(self, answer: Answer) -> dict:
        """The row of a generations artifact."""
        asked = {name: getattr(self, name) for name in ("language", "target", "number", "question", "prompt")}
        thoughts, output = split_thoughts(self.prompt, answer.text)
        own = {"thoughts": thoughts, "output": output} if thoughts else {"output": output}
        return {**asked, **own, "tokens": answer.tokens, "finish_reason": answer.finish_reason}


def greedy(tokenizer: Tokenizer, **settings) -> Callable[..., Sequence[Answer]]:
    """The `decode` of `write_answers` that takes the most probable token at each step.

    Args:
        tokenizer: the model's tokenizer.
        **settings: the settings of `GREEDY`.
    """
    return lambda model, texts, **batches: decoding.greedy_answers(
        model, tokenizer, [text.ids for text in texts], **settings, **batches
    )


def write_answers(
    output: Path,
    model_json: Path,
    condition: Condition,
    wanted: Sequence[Wanted],
    decode: Callable[..., Sequence[Answer]],
    *,
    label: str,
    prompt: str,
    languages: Sequence[str],
    parameters: dict,
    inputs: Sequence[Path],
    code: Sequence[str],
    remedy: str,
) -> None:
    """Write what a model answers under one condition, as a generations artifact.

    Args:
        output: the JSON lines; the header lies beside them.
        model_json: header of the model artifact.
        condition: what is done to the model.
        wanted: the texts, part by part. Where the condition does nothing for any target, all are one part, in which a
            prompt and number that several targets share are answered once.
        decode: gives the answers to some texts; it takes the model, the texts, and `batch_size` and `on_batch` of
            `greedy_answers`.
        label: what the progress and the messages call the work.
        prompt: what the header calls the kind of prompts.
        languages: of the header.
        parameters: every setting that shapes the texts; max_new_tokens, batch_size, threads and backend among them.
        inputs: files that were read, without those of the condition.
        code: the modules that decide on a token.
        remedy: what to do where a prompt leaves the model's context.

    Raises:
        LapeError: a prompt leaves the model's context, a hook did not fire, or no activation changed where one must.
    """
    _check_context(wanted, parameters["max_new_tokens"], read_json(model_json, "model")["context_length"], remedy)
    parts: dict[tuple[str, ...], list[Wanted]] = {}
    for text in wanted:
        parts.setdefault(("all",) if condition.setting.kind == "none" else text.part, []).append(text)
    total = sum(len({text.key for text in texts}) for texts in parts.values())
    inputs = [*inputs, *condition.files]
    sizes = {name: parameters[name] for name in ("batch_size", "threads")}
    with running(model_json, label, total, "answer", **sizes) as run:
        fields = condition.fields(languages, [])
        kept = KeptAnswers(
            output,
            inputs,
            code,
            ffn=ffn_entry(run.description["model_type"]),
            setting=condition.name,
            steering=fields["steering"],
            languages=languages,
            parameters=parameters,
            device=str(run.device),
        )
        found = {part: hook for part in parts if (hook := kept.kept("-".join(part))) is not None}
        run.bar.update(sum(len({text.key for text in parts[part]}) for part in found))
        missing = {part: texts for part, texts in parts.items() if part not in found}
        for names in _passes(missing, parameters["batch_size"] if condition.joins else 0):
            texts = [missing[part] for part in names]
            written = _answered(run, condition, texts, decode, parameters)
            for part, (rows, hook) in zip(names, written, strict=True):
                kept.keep("-".join(part), rows, hook)
                found[part] = hook
    hooks = [found[part] for part in parts]
    _check_changes(label, condition, dict(zip(map(" to ".join, parts), hooks, strict=True)))
    rows = kept.join(map("-".join, parts))
    write_header(
        output.with_suffix(".json"),
        "generations",
        model=run.description["name"],
        model_revision=run.description["revision"],
        prompt=prompt,
        setting=condition.name,
        **condition.fields(languages, hooks),
        languages=languages,
        rows=rows,
        hooks=hooks if condition.setting.method else [],
        batch_size=min(hook["batch_size"] for hook in hooks),
        device=str(run.device),
        backend=ops.active_backend(run.device, parameters["backend"]),
        dtype=run.description["dtype"],
        parameters=parameters,
        inputs=inputs,
        outputs=[output],
    )
    kept.remove()
    logger.info("%s: %d answers", label, len(wanted))


def _passes(parts: dict[tuple[str, ...], list[Wanted]], rows: int) -> Iterator[list[tuple[str, ...]]]:
    """The parts that are written together: neighbours that have at most a number of rows, or one part."""
    names, taken = [], 0
    for part, texts in parts.items():
        own = len({text.key for text in texts})
        if names and taken + own > rows:
            yield names
            names, taken = [], 0
        names.append(part)
        taken += own
    if names:
        yield names


def _answered(
    run: Running,
    condition: Condition,
    parts: Sequence[Sequence[Wanted]],
    decode: Callable[..., Sequence[Answer]],
    parameters: dict,
) -> list[tuple[list[dict], dict]]:
    """The rows of each part, and the record of what fired, once every hook is seen to have fired at every token."""
    asked = [list({text.key: text for text in texts}.values()) for texts in parts]

    def attempt(size: int) -> list[tuple[Sequence[Answer], dict]]:
        # Where memory was too small for parts together, each is written by itself.
        together = [asked] if sum(map(len, asked)) <= size else [[own] for own in asked]
        return [found for group in together for found in _pass(run, condition, group, decode, size, parameters)]

    names = ", ".join(" to ".join(texts[0].part) for texts in parts)
    result = []
    for texts, own, (answers, fired) in zip(parts, asked, run.batches(attempt, names), strict=True):
        given = {text.key: answer for text, answer in zip(own, answers, strict=True)}
        record = {"language": texts[0].language, "target": texts[0].target, **fired}
        result.append(([text.row(given[text.key]) for text in texts], record))
    return result


def _pass(
    run: Running,
    condition: Condition,
    parts: Sequence[Sequence[Wanted]],
    decode: Callable[..., Sequence[Answer]],
    size: int,
    parameters: dict,
) -> list[tuple[Sequence[Answer], dict]]:
    """The answers of each part, written in one batch or, where there is one part, in batches of a size.

    The record counts over all layers. It includes the padding and the rows that fill a batch: they are fed and changed
    too.
    """
    asked = [text for part in parts for text in part]
    numbers = filled_up([number for number, part in enumerate(parts) for _ in part])
    length = padded_length(run.model, [text.ids for text in asked], parameters["max_new_tokens"])
    begin = condition.begin([(part[0].language, part[0].target) for part in parts], length, parameters["backend"])
    fed = []

    def note(answered: int, tokens: int) -> None:
        fed.append(tokens)
        run.bar.update(answered)

    with begin(run.model, choice=torch.tensor(numbers) if len(parts) > 1 else None) as firing:
        answers = iter(decode(run.model, asked, batch_size=size, on_batch=note))
    firing.check(sum(fed), must_change=condition.must_change == "each part")
    rows, result = max(firing.rows.values(), default=0), []
    for number, (part, (neurons, changed)) in enumerate(zip(parts, firing.by_perturbation, strict=True)):
        fired = {
            "batch_size": size,
            "layers": len(neurons),
            "neurons": sum(neurons.values()),
            "fed": rows * numbers.count(number) // len(numbers) if neurons else 0,
            "changed": changed,
        }
        result.append((list(islice(answers, len(part))), fired))
    return result


def _check_context(wanted: Sequence[Wanted], new_tokens: int, context: int | None, remedy: str) -> None:
    """Refuse what would leave the model's context: position embeddings end there, or mean nothing behind it."""
    shortest, longest = (extreme(wanted, key=lambda text: len(text.ids)) for extreme in (min, max))
    if not shortest.ids:
        raise LapeError(f"{shortest.place} takes no token; write a longer template, or mend the tokenizer")
    tokens = len(longest.ids)
    if context and tokens + new_tokens > context:
        raise LapeError(
            f"{longest.place} takes {tokens} tokens, with {new_tokens} of an answer more than the context of "
            f"{context}; {remedy}"
        )


def _check_changes(label: str, condition: Condition, hooks: dict[str, dict]) -> None:
    """Warn of parts in which nothing was perturbed, and refuse neurons that changed nothing in any part."""
    for part, hook in hooks.items() if condition.setting.method else ():
        if not hook["neurons"]:
            logger.warning("%s, %s: no neuron or unit is perturbed", label, part)
    perturbed = any(hook["neurons"] for hook in hooks.values())
    if condition.must_change == "some part" and perturbed and not any(hook["changed"] for hook in hooks.values()):
        raise LapeError(f"{label}: the perturbation changed no activation; select neurons on this model and its text")
