"""What was run and what was found, in a few sentences: the first page of a report, as reStructuredText."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from lape.artifacts.files import read_json, writing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tables", nargs="*", type=Path, metavar="TABLE.json", help="headers of the tables that findings are read from"
    )
    parser.add_argument("--config", type=Path, required=True, help="config.json of the run")
    parser.add_argument("--output", type=Path, required=True, help="the text to write")


def run(arguments: argparse.Namespace) -> None:
    from lape.items.perplexity.findings import findings

    config = read_json(arguments.config)
    found = list(findings(arguments.tables))
    title = f"Neurons of languages in {', '.join(config['models'])}"
    lines = [_plain(title), "=" * (2 * len(title)), "", _plain(_what_was_run(config)), ""]
    if found:
        lines += ["What was found", "--------------", "", *(f"- {_plain(sentence)}" for sentence in found), ""]
    lines += [
        "Where to go on",
        "--------------",
        "",
        "- The sections at the left hold the tables and figures, in the order in which they are read.",
        "- `The explorer <index.html>`__ beside this file shows every neuron, its contexts, and the answers.",
        "- The diagram shows which rule made what.",
    ]
    with writing(arguments.output) as temporary:
        # Snakemake fills in templates; none of this is one.
        temporary.write_text("{% raw %}" + "\n".join(lines) + "\n{% endraw %}\n", encoding="utf-8")


def _what_was_run(config: Mapping) -> str:
    """The settings that a reader needs to know."""
    tokens, corpus, neurons = config["tokens"], config["corpus"]["source"], config["neurons"]
    share = f"{neurons['quota']} of each language" if neurons["quota"] else f"{100 * neurons['ratio']:.3g}% of all"
    models = "; ".join(f"{name} ({_weights(config['catalogue'][name])})" for name in config["models"])
    return (
        f"Run {config['run']}: {models}; languages {', '.join(config['languages'])}; text from the source {corpus!r}, "
        f"{tokens['train']:,} tokens per language for the neurons and {tokens['valid']:,} for the perplexity; "
        f"LAPE selects {share} neurons."
    )


def _weights(entry: Mapping) -> str:
    """Where a model's weights are from, and how exact they are."""
    if entry["source"] in ("embedded", "gguf"):
        return "weights of a GGUF file, dequantised"
    if entry.get("quantization"):
        return f"loaded in {entry['quantization']}"
    return f"weights of {entry['path']}"


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\*`|_<>\[\]])", r"\\\1", text)
