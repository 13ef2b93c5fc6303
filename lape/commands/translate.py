"""Translations under one setting of the expert units: none, top, bottom, both, random, lape."""

import argparse
from pathlib import Path

from lape.commands.arguments import add_setting_arguments, positive, strings

PARAMETERS = ("template", "stop", "max_new_tokens", "repetition_penalty", "batch_size", "threads", "backend")
# The paper's, which does not name the target.
TEMPLATE = "Translate an English sentence into a target language.\nEnglish: {source}\nTarget Language:"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_setting_arguments(parser)
    parser.add_argument(
        "--pairs", type=Path, nargs="+", required=True, help="header of the pairs of every language into which"
    )
    parser.add_argument("--template", default=TEMPLATE, help="prompt with {source}")
    parser.add_argument("--stop", type=strings, default=["\nEnglish:"], help="strings that end a translation (JSON)")
    parser.add_argument("--max-new-tokens", type=positive(int), default=128, help="a translation is cut there")
    parser.add_argument("--repetition-penalty", type=positive(float), default=1.0)
    parser.add_argument(
        "--batch-size", type=positive(int), default=32, help="sentences a pass, filled to a multiple of 8"
    )


def run(arguments: argparse.Namespace) -> None:
    import torch

    from lape.artifacts.files import read_json
    from lape.errors import LapeError
    from lape.generation.decoding import greedy_answers
    from lape.generation.texts import Selected, Wanted, write_texts
    from lape.machine.allocator import keep_freed_memory
    from lape.model.tokenizer import load_tokenizer
    from lape.text.pairs import load_pairs

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    if "{source}" not in arguments.template:
        raise LapeError(f"translation.template {arguments.template!r}: has no {{source}}; write it where it belongs")
    description = read_json(arguments.model, "model")
    selected = Selected.load(arguments.setting, description, arguments.units, arguments.neurons, arguments.values)
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_path)
    headers = {path: read_json(path, "pairs") for path in arguments.pairs}
    first = headers[arguments.pairs[0]]
    wanted = []
    for path, header in headers.items():
        if any(header[key] != first[key] for key in ("corpus", "source_language")):
            raise LapeError(f"{path}: of another corpus or source than {arguments.pairs[0]}; pass those of one corpus")
        if any(text.target == header["language"] for text in wanted):
            raise LapeError(f"{path}: second pairs of {header['language']}; pass one header a language")
        for pair in load_pairs(path):
            prompt = arguments.template.replace("{source}", pair["source"])
            ids = tuple(tokenizer.encode(prompt).ids)
            languages = {"target": header["language"], "language": header["source_language"]}
            wanted.append(Wanted(number=pair["number"], ids=ids, question=pair["source"], prompt=prompt, **languages))

    def write(model, texts, batch_size, on_batch):
        return greedy_answers(
            model,
            tokenizer,
            [text.ids for text in texts],
            max_new_tokens=arguments.max_new_tokens,
            stop=arguments.stop,
            repetition_penalty=arguments.repetition_penalty,
            batch_size=batch_size,
            on_batch=on_batch,
        )

    write_texts(
        arguments.output,
        arguments.model,
        selected,
        wanted,
        write,
        prompt=f"translation-{first['corpus']}",
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[
            *(arguments.model, tokenizer_path, *arguments.pairs),
            *(path.with_suffix(".jsonl") for path in arguments.pairs),
        ],
        backend=arguments.backend,
    )
