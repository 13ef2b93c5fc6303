"""Asking a judge: many calls at once to an OpenAI-compatible endpoint that may fail, stall or answer nonsense."""

import asyncio
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import openai

from lape.errors import LapeError
from lape.evaluation.judging.cache import VerdictCache, fingerprint
from lape.evaluation.judging.judge import Judge
from lape.machine.progress import progress

logger = logging.getLogger(__name__)

# Client errors that another attempt may mend: request timeout, conflict, too many requests.
_TRANSIENT = (408, 409, 429)
_KEY_REFUSED = "export a valid key as the environment variable that judge.key_variable names"
_REMEDIES = {401: _KEY_REFUSED, 403: _KEY_REFUSED, 404: "correct judge.base_url or judge.model"}
_LONGEST = 200  # characters of an endpoint's own words in a message


class _FailedError(Exception):
    """Why an answer got no verdict."""


async def ask(judge: Judge, requests: Sequence[Mapping], cache: VerdictCache, label: str = "judge") -> None:
    """Ask for every verdict that is not in the cache, and put it there as it comes.

    An endpoint that is down is given up once as many answers in a row failed as are asked for at once, unless so
    many may fail.

    Args:
        judge: whom to ask, and how.
        requests: made by `Judge.request`, one an answer; two may be the same, which is asked once.
        cache: takes the verdicts.
        label: what the progress bar says.

    Raises:
        LapeError: the endpoint refuses a request, the key cannot be sent, or more answers than allowed stay without a
            verdict; the others are in the cache then.
    """
    missing = cache.missing(requests)
    if not missing:
        return
    key = _key(judge)
    shares = Counter(map(fingerprint, requests))
    waiting = iter(missing)
    failed, streak, reason = 0, 0, ""

    def check() -> None:
        if failed / len(requests) > judge.allowed_failures:
            raise LapeError(
                f"judge at {judge.base_url}: {failed} of {len(requests)} answers failed, the last with: {reason}; "
                f"the verdicts so far are in {cache.folder}: run again once the endpoint works, or raise "
                "judge.allowed_failures or judge.timeout"
            )

    async def work() -> None:
        nonlocal failed, streak, reason
        for request in waiting:
            try:
                verdict, served = await _verdict(client, request, judge.base_url, key)
            except _FailedError as error:
                failed += shares[fingerprint(request)]
                streak += 1
                reason = str(error)
                logger.warning("%s: an answer failed: %s", label, reason)
                if streak >= judge.concurrency:
                    check()
            else:
                streak = 0
                cache.write(request, verdict, served)
            bar.update()

    client = openai.AsyncOpenAI(
        base_url=judge.base_url,
        api_key=key or "none",  # without one the client would take OPENAI_API_KEY, which is for another endpoint
        timeout=judge.timeout,
        max_retries=judge.retries,
    )
    with progress(len(missing), label, "answer") as bar:
        try:
            async with client, asyncio.TaskGroup() as workers:
                for _ in range(min(judge.concurrency, len(missing))):
                    workers.create_task(work())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
    check()


def _key(judge: Judge) -> str | None:
    """The key, or None where there is none.

    Raises:
        LapeError: the variable holds what cannot be sent; the message does not repeat it.
    """
    key = os.environ.get(judge.key_variable or "", "").strip()
    if not re.fullmatch("[!-~]*", key):
        raise LapeError(f"environment variable {judge.key_variable}: holds no key; export it with the judge's key")
    return key or None


async def _verdict(
    client: openai.AsyncOpenAI, request: Mapping, base_url: str, key: str | None
) -> tuple[str, str | None]:
    """A verdict, and the endpoint's name of the model that gave it.

    Raises:
        _FailedError: no verdict after all attempts.
        LapeError: the endpoint refuses the request, as it would any other.
    """
    try:
        # Not the client's typed method, which takes any JSON for a completion.
        completion = await client.post("/chat/completions", body=request, cast_to=object)
    except openai.APIStatusError as error:
        reason = _line(f"{type(error).__name__}: {error}", key)
        if error.status_code >= 500 or error.status_code in _TRANSIENT:
            raise _FailedError(reason) from error
        remedy = _REMEDIES.get(
            error.status_code, "correct judge.model, judge.max_tokens, judge.sampling or judge.template"
        )
        raise LapeError(f"judge at {base_url}: refuses a request ({reason}); {remedy}") from error
    except (openai.APIError, ValueError) as error:  # no answer, or one that is not JSON
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise _FailedError(_line(f"{type(error).__name__}: {error}{cause}", key)) from error
    try:
        text, served = completion["choices"][0]["message"]["content"], completion.get("model")
    except (KeyError, IndexError, TypeError) as error:
        raise _FailedError(_line(f"no chat completion, but {completion}", key)) from error
    if not isinstance(text, str | None):
        raise _FailedError(f"its message is {type(text).__name__}, not a text")
    # Half a surrogate pair is valid JSON, but no character.
    return (text or "").encode("utf-8", "replace").decode(), served if isinstance(served, str) else None


def _line(text: str, key: str | None) -> str:
    """An endpoint's words in one line, without the key, which some like to repeat."""
    text = " ".join(text.split())
    return (text.replace(key, "***") if key else text)[:_LONGEST]
