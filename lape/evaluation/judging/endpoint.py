"""Ask a judge: make many calls at once to an OpenAI-compatible endpoint, which may fail, stall or answer nonsense."""

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

# HTTP errors after which another attempt may succeed: request timeout, conflict, too many requests.
_TRANSIENT = (408, 409, 429)
_KEY_REFUSED = "export a valid key as the environment variable that judge.key_variable names"
_REMEDIES = {401: _KEY_REFUSED, 403: _KEY_REFUSED, 404: "correct judge.base_url or judge.model"}
_LONGEST = 200  # characters that a message quotes from an endpoint


class _FailedError(Exception):
    """An answer got no verdict; the message says why."""


async def ask(judge: Judge, requests: Sequence[Mapping], cache: VerdictCache, label: str = "judge") -> None:
    """Ask for every verdict that is not in the cache, and put each verdict there as it comes.

    An endpoint that is down is given up once `concurrency` answers in a row failed, unless so many may fail.

    Args:
        judge: the judge to ask.
        requests: requests of `Judge.request`, one per answer. Equal requests are sent once.
        cache: takes the verdicts.
        label: text of the progress bar.

    Raises:
        LapeError: the endpoint refuses a request, the key cannot be sent, or more answers than allowed stay without a
            verdict. The verdicts so far are in the cache.
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
        api_key=key or "none",  # without a key the client would send OPENAI_API_KEY, which is for another endpoint
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
    """The judge's key; None for a judge without one.

    Raises:
        LapeError: the environment variable holds no key that can be sent. The message does not repeat its value.
    """
    key = os.environ.get(judge.key_variable or "", "").strip()
    if not re.fullmatch("[!-~]*", key):
        raise LapeError(f"environment variable {judge.key_variable}: holds no key; export it with the judge's key")
    return key or None


async def _verdict(
    client: openai.AsyncOpenAI, request: Mapping, base_url: str, key: str | None
) -> tuple[str, str | None]:
    """The verdict on one request, and the endpoint's name of the model that gave it.

    Raises:
        _FailedError: there is no verdict after all attempts.
        LapeError: the endpoint refuses the request for a reason that holds for all requests.
    """
    try:
        # The client's typed method is not used, as it takes any JSON for a completion.
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
    # JSON may hold half a surrogate pair, which is no character and cannot be written.
    return (text or "").encode("utf-8", "replace").decode(), served if isinstance(served, str) else None


def _line(text: str, key: str | None) -> str:
    """The words of an endpoint in one line, without the key, which some endpoints repeat."""
    text = " ".join(text.split())
    return (text.replace(key, "***") if key else text)[:_LONGEST]
