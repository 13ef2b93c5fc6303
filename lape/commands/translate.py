"""Translations under one setting of the expert units: none, top, bottom, both, random, lape."""

import argparse
from pathlib import Path

from lape.artifacts.files import read_json
from lape.commands.arguments import add_setting_arguments, positive, strings
from lape.errors import LapeError

PARAMETERS = ("template", "stop", "max_new_tokens", "repetition_penalty", "batch_size", "threads", "backend")
# The paper's template, which does not name the target language.
TEMPLATE = "Translate an English sentence into a target language.\nEnglish: {source}\nTarget Language:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_arguments(parser)
    parser.add_argument(
        "--pairs", type=Path, nargs="+", required=True, help="headers of the pairs, one per target language"
    )
    parser.add_argument("--template", default=TEMPLATE, help="prompt with {source}")
    parser.add_argument("--stop", type=strings, default=["\nEnglish:"], help="strings that end a translation (JSON)")
    parser.add_argument("--max-new-tokens", type=positive(int), default=128, help="tokens of a translation, at most")
    parser.add_argument(
        "--repetition-penalty",
        type=positive(float),
        default=1.0,
        help="penalty of tokens that the prompt or the translation has; 1 is none",
    )
    parser.add_argument(
        "--batch-size", type=positive(int), default=32, help="sentences per pass, filled to a multiple of 8"
    )


def run(arguments: argparse.Namespace) -> None:
    from lape.generation.pipeline import GREEDY, greedy, write_answers
    from lape.generation.settings import TextSetting
    from lape.generation.text_conditions import TextCondition
    from lape.model.tokenizer import load_tokenizer

    if "{source}" not in arguments.template:
        raise LapeError(f"translation.template {arguments.template!r}: has no {{source}}; write it where it belongs")
    description = read_json(arguments.model, "model")
    given = {name: getattr(arguments, name) for name in ("units", "neurons", "values")}
    condition = TextCondition.load(arguments.setting, TextSetting.parse(arguments.setting), description, **given)
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path)
    headers = _headers(arguments.pairs)
    prompt = f"translation-{headers[arguments.pairs[0]]['corpus']}"
    wanted = _wanted(headers, arguments.template, tokenizer)

    write_answers(
        arguments.output,
        arguments.model,
        condition,
        wanted,
        greedy(tokenizer, **{name: getattr(arguments, name) for name in GREEDY}),
        label=f"texts {description['name']} {prompt} {arguments.setting}",
        prompt=prompt,
        languages=list(dict.fromkeys(text.target for text in wanted)),
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[
            *(arguments.model, tokenizer_path, *arguments.pairs),
            *(path.with_suffix(".jsonl") for path in arguments.pairs),
        ],
        code=["lape.commands.translate"],
        remedy="lower translation.max_new_tokens or leave the sentence out",
    )


def _headers(paths: list[Path]) -> dict[Path, dict]:
    """The headers of the pairs, once they are of one corpus, one source language and different targets."""
    headers = {path: read_json(path, "pairs") for path in paths}
    first, languages = headers[paths[0]], set()
    for path, header in headers.items():
        if any(header[key] != first[key] for key in ("corpus", "source_language")):
            raise LapeError(f"{path}: of another corpus or source than {paths[0]}; pass those of one corpus")
        if header["language"] in languages:
            raise LapeError(f"{path}: second pairs of {header['language']}; pass one header per language")
        languages.add(header["language"])
    return headers


def _wanted(headers: dict[Path, dict], template: str, tokenizer) -> list:
    """The translations that are wanted, language by language."""
    from lape.generation.pipeline import Wanted
    from lape.model.tokenizer import prompt_ids
    from lape.text.pairs import load_pairs

    wanted = []
    for path, header in headers.items():
        for pair in load_pairs(path):
            source, prompt = pair["source"], template.replace("{source}", pair["source"])
            ids, number = prompt_ids(tokenizer, prompt), pair["number"]
            wanted.append(Wanted(header["language"], number, ids, header["source_language"], source, prompt))
    return wanted
