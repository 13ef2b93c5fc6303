"""Texts from nothing but BOS, sampled under one setting of the expert units: none, top, bottom, both, random, lape."""

import argparse

from lape.commands.arguments import add_setting_arguments, positive

PARAMETERS = ("max_new_tokens", "temperature", "top_k", "top_p", "batch_size", "threads", "backend")


def _share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return float(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_arguments(parser)
    parser.add_argument("--languages", nargs="+", required=True, metavar="CODE", help="that the texts are to be in")
    parser.add_argument(
        "--seeds", type=positive(int), default=100, metavar="N", help="texts a language, of the seeds from 1 to N"
    )
    parser.add_argument("--max-new-tokens", type=positive(int), default=64, help="a text is cut there")
    parser.add_argument("--temperature", type=positive(float), default=0.8, help="logits are divided by it")
    parser.add_argument("--top-k", type=positive(int), metavar="K", help="draw from the K most probable tokens")
    parser.add_argument(
        "--top-p", type=_share, metavar="P", help="draw from the most probable tokens that hold P together"
    )
    parser.add_argument(
        "--prompt-token", type=int, metavar="ID", help="what a text begins with (default: the tokenizer's BOS)"
    )
    parser.add_argument("--batch-size", type=positive(int), default=100, help="texts a pass, filled to a multiple of 8")


def run(arguments: argparse.Namespace) -> None:
    import torch

    from lape.artifacts.files import read_json
    from lape.errors import LapeError
    from lape.generation.decoding import sampled_answers
    from lape.generation.texts import Selected, Wanted, write_texts
    from lape.machine.allocator import keep_freed_memory
    from lape.model.tokenizer import load_tokenizer

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    description = read_json(arguments.model, "model")
    selected = Selected.load(arguments.setting, description, arguments.units, arguments.neurons, arguments.values)
    begin = description["bos_token_id"] if arguments.prompt_token is None else arguments.prompt_token
    if begin is None or not 0 <= begin < description["vocab_size"]:
        fault = "its tokenizer has no BOS" if begin is None else f"has no token {begin}"
        remedy = "pass the id of one that texts begin with, such as its end of text, by --prompt-token"
        raise LapeError(f"{arguments.model}: {fault}; {remedy}")
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path)

    def write(model, texts, batch_size, on_batch):
        return sampled_answers(
            model,
            tokenizer,
            [text.ids for text in texts],
            [text.number for text in texts],
            max_new_tokens=arguments.max_new_tokens,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            batch_size=batch_size,
            on_batch=on_batch,
        )

    seeds = range(1, arguments.seeds + 1)
    write_texts(
        arguments.output,
        arguments.model,
        selected,
        [Wanted(target, seed, (begin,)) for target in dict.fromkeys(arguments.languages) for seed in seeds],
        write,
        prompt="unconditional",
        parameters={
            **{name: getattr(arguments, name) for name in PARAMETERS},
            "seeds": arguments.seeds,
            "prompt_token": begin,
            "stop": [],
        },
        inputs=[arguments.model, tokenizer_path],
        backend=arguments.backend,
    )
