"""Texts from nothing but BOS, sampled under one setting of the expert units: none, top, bottom, both, random, lape."""

import argparse

from lape.artifacts.files import read_json
from lape.commands.arguments import add_setting_arguments, positive
from lape.errors import LapeError

PARAMETERS = ("max_new_tokens", "temperature", "top_k", "top_p", "batch_size", "threads", "backend")


def _share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return float(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_arguments(parser)
    parser.add_argument("--languages", nargs="+", required=True, metavar="CODE", help="languages of the texts")
    parser.add_argument(
        "--seeds", type=positive(int), default=100, metavar="N", help="texts per language, of the seeds from 1 to N"
    )
    parser.add_argument("--max-new-tokens", type=positive(int), default=64, help="tokens of a text, at most")
    parser.add_argument(
        "--temperature", type=positive(float), default=0.8, help="temperature, by which logits are divided"
    )
    parser.add_argument("--top-k", type=positive(int), metavar="K", help="draw from the K most probable tokens")
    parser.add_argument(
        "--top-p", type=_share, metavar="P", help="draw from the most probable tokens, of probability P together"
    )
    parser.add_argument(
        "--prompt-token", type=int, metavar="ID", help="first token of a text (default: the tokenizer's BOS)"
    )
    parser.add_argument(
        "--batch-size", type=positive(int), default=100, help="texts per pass, filled to a multiple of 8"
    )


def run(arguments: argparse.Namespace) -> None:
    from lape.generation.decoding import sampled_answers
    from lape.generation.pipeline import Wanted, write_answers
    from lape.generation.settings import TextSetting
    from lape.generation.text_conditions import TextCondition
    from lape.model.tokenizer import load_tokenizer

    description = read_json(arguments.model, "model")
    given = {name: getattr(arguments, name) for name in ("units", "neurons", "values")}
    condition = TextCondition.load(arguments.setting, TextSetting.parse(arguments.setting), description, **given)
    begin = description["bos_token_id"] if arguments.prompt_token is None else arguments.prompt_token
    if begin is None or not 0 <= begin < description["vocab_size"]:
        fault = "its tokenizer has no BOS" if begin is None else f"has no token {begin}"
        remedy = "pass the id of one that texts begin with, such as its end of text, by --prompt-token"
        raise LapeError(f"{arguments.model}: {fault}; {remedy}")
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path)
    languages, seeds = list(dict.fromkeys(arguments.languages)), range(1, arguments.seeds + 1)

    def decode(model, texts, **batches):
        settings = {name: getattr(arguments, name) for name in ("max_new_tokens", "temperature", "top_k", "top_p")}
        prompts, numbers = [text.ids for text in texts], [text.number for text in texts]
        return sampled_answers(model, tokenizer, prompts, numbers, **settings, **batches)

    own = {"seeds": arguments.seeds, "prompt_token": begin, "stop": []}
    write_answers(
        arguments.output,
        arguments.model,
        condition,
        [Wanted(target, seed, (begin,)) for target in languages for seed in seeds],
        decode,
        label=f"texts {description['name']} unconditional {arguments.setting}",
        prompt="unconditional",
        languages=languages,
        parameters={name: getattr(arguments, name) for name in PARAMETERS} | own,
        inputs=[arguments.model, tokenizer_path],
        code=["lape.commands.sample"],
        remedy="lower expert_units.max_new_tokens",
    )
