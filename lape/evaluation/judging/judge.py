"""The judge: a language model that rates every answer from 1 to 10, as GPT-4 does for the paper's Tables 1 and 4.

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

# UTF-8 bytes per token, for estimates, which must do without the endpoint's tokenizer. With large vocabularies a token
# has some 4.5 bytes of English, and 2 to 3.5 bytes of most other languages.
BYTES_PER_TOKEN = 3
# The name of max_tokens at newer endpoints.
_BOUND = "max_completion_tokens"
# The name of an environment variable. A user may put the key itself in its place, which no message may repeat.
_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")
_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
# The prompt's example. Small models repeat the prompt, and the example is no rating.
_EXAMPLE = 'for example: "Rating: [[5]]"'


def _number(value: object, low: float, high: float = float("inf")) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


# Setting -> a test of its value, and what the value must be in the words of a message.
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
    """Whether an address is an HTTP address without a password, which artifacts would show."""
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
        base_url: address of the endpoint, without the final /chat/completions.
        model: the endpoint's name of the model.
        key_variable: name of the environment variable that holds the key; None for an endpoint without keys.
        concurrency: number of calls at once.
        retries: number of further attempts after 408, 409, 429, 5xx, a timeout or a broken connection. The pause before
            an attempt is what Retry-After says, up to two minutes. Without Retry-After it is 0.5 s, doubled each time
            up to 8 s, minus up to a random quarter.
        timeout: seconds without a byte after which an attempt is given up.
        max_tokens: length of the longest verdict.
        sampling: further parameters of a request, in the endpoint's names. It may replace the values of temperature and
            seed, which are 0; a value of None leaves the parameter out. max_completion_tokens replaces max_tokens, for
            endpoints that insist on that name.
        template: file of a prompt with {question} and {answer} that asks for [[rating]]; None for the prompt of Zheng
            et al.
        price_in, price_out: price of a million tokens sent and received; None where it is not known.
        budget: highest estimated cost at which the calls start, in the currency of the prices; None for any cost.
        allowed_failures: share of the answers that may stay without a verdict.

    Raises:
        LapeError: a setting has a value that it must not have. The message does not repeat the value.
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
            LapeError: a setting is unknown or missing, or has a value that it must not have.
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
        """The request to rate one answer, which may be empty: model, messages and sampling parameters."""
        texts = {"{question}": question, "{answer}": answer}
        prompt = re.sub(r"\{(question|answer)\}", lambda found: texts[found[0]], self.prompt)
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
        return {**self.parameters, "model": self.model, "messages": messages}

    @property
    def parameters(self) -> dict:
        """The parameters of a request beside model and messages."""
        bound = {} if _BOUND in self.sampling else {"max_tokens": self.max_tokens}
        chosen = {"temperature": 0, "seed": 0, **bound, **self.sampling}
        return {name: value for name, value in chosen.items() if value is not None}

    def estimate(self, requests: Sequence[Mapping]) -> "Estimate":
        """Estimate the cost of requests, with the longest verdicts and without repeated calls.

        The tokens sent are the UTF-8 bytes of the messages divided by `BYTES_PER_TOKEN`. The tokens received are as
        many as a verdict may have.
        """
        sizes = [sum(len(message["content"].encode()) for message in request["messages"]) for request in requests]
        longest = self.sampling.get(_BOUND, self.max_tokens)
        tokens = sum(-(-size // BYTES_PER_TOKEN) for size in sizes), longest * len(requests)
        prices = self.price_in, self.price_out
        cost = None if None in prices else float(np.dot(tokens, prices)) / 1e6
        return Estimate(len(requests), *tokens, cost)

    def check_budget(self, estimate: "Estimate") -> None:
        """Check an estimate against the budget.

        Raises:
            LapeError: the calls may cost more than the budget.
        """
        if self.budget is not None and estimate.cost > self.budget:
            raise LapeError(
                f"judge.budget: the calls may cost {estimate.cost:.2f}, more than {self.budget:g}; "
                "raise it, or lower judge.max_tokens"
            )


class Estimate(NamedTuple):
    """Calls to make, tokens sent, the most tokens received, and their estimated cost (None without prices)."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", about {self.cost:.2f} in the prices' currency"
        return f"{self.calls} calls, about {self.tokens_in} tokens to send and at most {self.tokens_out} back{cost}"


def rating(verdict: str) -> float | None:
    """The rating in a verdict, or None where it is not clear.

    A rating is a number in double brackets, as the prompt asks for it. FastChat takes the first one, or without one the
    first number in single brackets. Here three things differ. A verdict with two different ratings counts as without
    one, since nobody knows which one is meant. A number in single brackets is no rating, as "[3]" may be a footnote.
    The prompt's example, word for word, is no rating.

    Returns:
        a number from 1 to 10, such as 7.5; None without a clear rating.
    """
    found = {float(number) for number in _RATING.findall(verdict.replace(_EXAMPLE, ""))}
    return found.pop() if len(found) == 1 and 1 <= min(found) <= 10 else None


def judgements(answers: Sequence[Mapping], verdicts: Sequence[str | None]) -> pd.DataFrame:
    """One row per answer: language, target, number, rating (NaN without one), status and verdict.

    Args:
        answers: rows of a generations artifact.
        verdicts: verdicts on these answers; None where the endpoint failed.
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
    """The rows of a judgements header: per (language, target) the mean rating and the number of each status."""
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
    """Write the table as TSV. A verdict is written as a JSON string without its quotes."""
    escaped = table.assign(verdict=[json.dumps(verdict, ensure_ascii=False)[1:-1] for verdict in table["verdict"]])
    with writing(path) as temporary:
        escaped.to_csv(temporary, sep="\t", index=False, lineterminator="\n", float_format="%g")


def read_judgements(path: str | Path) -> pd.DataFrame:
    """The table that `write_judgements` wrote.

    Raises:
        LapeError: the file cannot be read, or holds no such table.
    """
    texts = dict.fromkeys(("language", "target", "status", "verdict"), str)
    try:
        # Codes of languages, such as "no" or "nan", are text and not missing values.
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values={"rating": [""]}, dtype=texts)
        table["rating"] = table["rating"].astype(float)
        return table.assign(verdict=[json.loads(f'"{verdict}"') for verdict in table["verdict"]])
    except OSError as error:
        raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape judge` again") from error
    except (ValueError, KeyError) as error:
        raise LapeError(f"{path}: is not a table of judgements ({error}); run `lape judge` again") from error
