"""Content quality: a language model rates every answer from 1 to 10, as GPT-4 does for the paper's Tables 1 and 4.

The prompt is the single-answer grading of Zheng et al. 2023 (Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena,
Figure 6): single_answer.txt holds "single-v1" of FastChat's fastchat/llm_judge/data/judge_prompts.jsonl (Apache-2.0),
word for word.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from lape.artifacts.files import writing
from lape.errors import LapeError
from lape.generation.answers import KEYS

TEMPLATE = Path(__file__).with_name("single_answer.txt")
SYSTEM = "You are a helpful assistant."

# An estimate must do without the endpoint's tokenizer. Large vocabularies make some 4.5 bytes of English a token and
# 2 to 3.5 of most other languages.
BYTES_PER_TOKEN = 3
# What newer endpoints call max_tokens.
_BOUND = "max_completion_tokens"
# A key that was put in the place of its variable's name is not one, and must not be repeated in a message.
_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")
_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
# Small models repeat the prompt; its example rates nothing.
_EXAMPLE = 'for example: "Rating: [[5]]"'


def _number(value: object, low: float, high: float = float("inf")) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


# What a setting must be, and how a message says it.
_CHECKS = {
    "base_url": (
        lambda value: isinstance(value, str) and _is_plain(value),
        "an address such as http://host:8000/v1, without password or query",
    ),
    "model": (lambda value: isinstance(value, str) and value != "", "the name of the endpoint's model"),
    "key_variable": (
        lambda value: value is None or _VARIABLE.fullmatch(str(value)),
        "the name, in capitals, of the environment variable that holds the key, or null",
    ),
    "concurrency": (lambda value: isinstance(value, int) and _number(value, 1), "a whole number from 1"),
    "retries": (lambda value: isinstance(value, int) and _number(value, 0), "a whole number from 0"),
    "timeout": (lambda value: _number(value, 1e-3), "a number of seconds"),
    "max_tokens": (lambda value: isinstance(value, int) and _number(value, 1), "a whole number from 1"),
    "sampling": (
        lambda value: (
            isinstance(value, Mapping)
            and not value.keys() & {"model", "messages", "stream", "max_tokens"}
            and _number(value.get(_BOUND, 1), 1)
        ),
        f"an object of request parameters such as seed, temperature and {_BOUND}",
    ),
    "template": (lambda value: value is None or isinstance(value, str), "the path of a file, or null"),
    **dict.fromkeys(
        ("price_in", "price_out", "budget"), (lambda value: value is None or _number(value, 0), "a number, or null")
    ),
    "allowed_failures": (lambda value: _number(value, 0, 1), "a share between 0 and 1"),
}


def _is_plain(url: str) -> bool:
    """Whether an address is one of HTTP and holds no password, which artifacts would show."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and named and not ("@" in parts.netloc or parts.query)


@dataclass(frozen=True)
class Judge:
    """A model behind an OpenAI-compatible endpoint, and how it is asked.

    Attributes:
        base_url: of the endpoint, up to what precedes /chat/completions.
        model: the endpoint's name of it.
        key_variable: name of the environment variable that holds the key. An endpoint without keys needs neither.
        concurrency: calls at once.
        retries: further attempts of a call that meets 408, 409, 429, 5xx, a timeout or a broken connection; the
            pauses are what Retry-After says, up to two minutes, else 0.5 s doubled each time up to 8 s, less a
            random quarter.
        timeout: seconds without a byte after which an attempt is given up.
        max_tokens: the longest verdict.
        sampling: further parameters of a request, as the endpoint names them, or other values than 0 for temperature
            and seed; None leaves one out. max_completion_tokens takes the place of max_tokens where an endpoint
            insists on that name.
        template: file of a prompt with {question} and {answer} that asks for [[rating]]; None for Zheng et al.'s.
        price_in, price_out: of a million tokens sent and received; None where nobody knows.
        budget: the highest estimate, in the prices' currency, at which the calls start; None for any.
        allowed_failures: share of answers that may stay without a verdict.

    Raises:
        LapeError: a setting is not what it must be; the message does not repeat its value.
    """

    base_url: str
    model: str
    key_variable: str | None = None
    concurrency: int = 8
    retries: int = 6
    timeout: float = 120.0
    max_tokens: int = 1024
    sampling: Mapping = field(default_factory=dict)
    template: str | None = None
    price_in: float | None = None
    price_out: float | None = None
    budget: float | None = None
    allowed_failures: float = 0.0

    def __post_init__(self) -> None:
        for name, (fits, what) in _CHECKS.items():
            if not fits(getattr(self, name)):
                raise LapeError(f"judge.{name}: is not {what}; correct it")
        if self.budget is not None and None in (self.price_in, self.price_out):
            raise LapeError("judge.budget: nobody knows the cost; give judge.price_in and judge.price_out too")

    @classmethod
    def from_settings(cls, settings: Mapping) -> "Judge":
        """The judge of the configuration's section `judge`.

        Raises:
            LapeError: a setting is unknown, missing or not what it must be.
        """
        fields = cls.__dataclass_fields__
        if unknown := settings.keys() - fields.keys():
            raise LapeError(f"judge: unknown key {min(unknown)!r}; name {', '.join(fields)}")
        if missing := {"base_url", "model"} - settings.keys():
            raise LapeError(f"judge: no key {min(missing)!r}; set it")
        return cls(**settings)

    @cached_property
    def prompt(self) -> str:
        """The template's text without a line break at its end.

        Raises:
            LapeError: the file cannot be read, or lacks {question} or {answer}.
        """
        path = self.template or TEMPLATE
        try:
            text = Path(path).read_text(encoding="utf-8").removesuffix("\n")
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); correct judge.template") from error
        except UnicodeDecodeError as error:
            raise LapeError(f"{path}: is not UTF-8; save the template as such") from error
        for name in ("{question}", "{answer}"):
            if name not in text:
                raise LapeError(f"{path}: has no {name}; put it where the judge is to read it")
        return text

    def request(self, question: str, answer: str) -> dict:
        """What is sent to rate one answer, which may be empty: model, messages and sampling parameters."""
        texts = {"{question}": question, "{answer}": answer}
        prompt = re.sub(r"\{(question|answer)\}", lambda found: texts[found[0]], self.prompt)
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
        return {**self.parameters, "model": self.model, "messages": messages}

    @property
    def parameters(self) -> dict:
        """What is sent beside model and messages."""
        bound = {} if _BOUND in self.sampling else {"max_tokens": self.max_tokens}
        chosen = {"temperature": 0, "seed": 0, **bound, **self.sampling}
        return {name: value for name, value in chosen.items() if value is not None}

    def estimate(self, requests: Sequence[Mapping]) -> "Estimate":
        """What requests would cost, about; verdicts that are as long as they may be, and no call that is repeated.

        Tokens sent are the bytes of the messages in UTF-8 over `BYTES_PER_TOKEN`, tokens received as many as a verdict
        may have.
        """
        sizes = [sum(len(message["content"].encode()) for message in request["messages"]) for request in requests]
        longest = self.sampling.get(_BOUND, self.max_tokens)
        tokens = sum(-(-size // BYTES_PER_TOKEN) for size in sizes), longest * len(requests)
        prices = self.price_in, self.price_out
        cost = None if None in prices else float(np.dot(tokens, prices)) / 1e6
        return Estimate(len(requests), *tokens, cost)

    def check_budget(self, estimate: "Estimate") -> None:
        """Refuse what may cost more than the budget.

        Raises:
            LapeError: it may.
        """
        if self.budget is not None and estimate.cost > self.budget:
            raise LapeError(
                f"judge.budget: the calls may cost {estimate.cost:.2f}, more than {self.budget:.2f}; "
                "raise it, or lower judge.max_tokens"
            )


class Estimate(NamedTuple):
    """Calls to make, tokens sent, the most tokens received, and about their cost (None without prices)."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", about {self.cost:.2f} in the prices' currency"
        return f"{self.calls} calls, about {self.tokens_in} tokens to send and at most {self.tokens_out} back{cost}"


def rating(verdict: str) -> float | None:
    """The rating in a verdict, or None where it is not clear.

    A rating is a number in double brackets, as the prompt asks for it. FastChat takes the first one, else the first
    number in single brackets. Here a verdict with two different ratings has none, since nobody knows which one is
    meant, single brackets are no rating ("[3]" is a footnote too), nor is the prompt's example, word for word.

    Returns:
        1 to 10, halves and the like included.
    """
    found = {float(number) for number in _RATING.findall(verdict.replace(_EXAMPLE, ""))}
    return found.pop() if len(found) == 1 and 1 <= min(found) <= 10 else None


def judgements(answers: Sequence[Mapping], verdicts: Sequence[str | None]) -> pd.DataFrame:
    """A row an answer: its language, target and number, rating (NaN without), status and verdict.

    Args:
        answers: rows of a generations artifact.
        verdicts: of the same answers; None where the endpoint failed.
    """
    rows = []
    for answer, verdict in zip(answers, verdicts, strict=True):
        value = None if verdict is None else rating(verdict)
        status = "failed" if verdict is None else "unparsed" if value is None else "rated"
        rows.append(
            {
                **{key: answer[key] for key in KEYS},
                "rating": np.nan if value is None else value,
                "status": status,
                "verdict": verdict or "",
            }
        )
    return pd.DataFrame(rows, columns=[*KEYS, "rating", "status", "verdict"])


def summary(table: pd.DataFrame) -> list[dict]:
    """The rows of a judgements header: mean rating and number of each status by question's language and target."""
    rows = []
    for (language, target), block in table.groupby(["language", "target"], sort=False):
        mean = block["rating"].mean()
        counts = {status: int((block["status"] == status).sum()) for status in ("rated", "unparsed", "failed")}
        quality = None if np.isnan(mean) else float(mean)
        rows.append(
            {"language": language, "target": target, "answers": len(block), "content_quality": quality, **counts}
        )
    return rows


def write_judgements(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table as TSV; a verdict stands there as a JSON string without its quotes."""
    escaped = table.assign(verdict=[json.dumps(verdict, ensure_ascii=False)[1:-1] for verdict in table["verdict"]])
    with writing(path) as temporary:
        escaped.to_csv(temporary, sep="\t", index=False, lineterminator="\n", float_format="%g")


def read_judgements(path: str | Path) -> pd.DataFrame:
    """The table that `write_judgements` wrote.

    Raises:
        LapeError: it cannot be read, or is no such table.
    """
    texts = dict.fromkeys(("language", "target", "status", "verdict"), str)
    try:
        # Languages such as "no" and "nan" are text.
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values={"rating": [""]}, dtype=texts)
        table["rating"] = table["rating"].astype(float)
        return table.assign(verdict=[json.loads(f'"{verdict}"') for verdict in table["verdict"]])
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape judge` again") from error
    except (ValueError, KeyError) as error:
        raise LapeError(f"{path}: is not a table of judgements ({error}); run `lape judge` again") from error
