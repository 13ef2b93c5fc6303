"""Size, opening and filtering of the explorer's page in a browser, with as many neurons as small and large models have.

    python -m bench.explorer [--neurons 369 23000] [--turns 5]

Neurons, statistics and contexts are made up: seven languages, and per language ten contexts of 25 tokens. It needs
playwright and Debian's chromium, prints a table, and writes `results/explorer.json`.
"""

import argparse
import contextlib
import os
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from bench.report import machine, versions
from bench.startup import helper
from bench.timing import Spread
from lape.artifacts.files import write_header, write_json
from lape.artifacts.manifest import build_manifest
from lape.artifacts.shipped import default_config
from lape.contexts.card import Context
from lape.contexts.inspected import InLanguage, Inspection
from lape.explorer.page import page
from lape.explorer.run import Run
from lape.model.sites import Sites
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")
LAYERS, WIDTH = 18, 2048
LARGE = 80, 28_672
_DIFFERENT = 512
# Milliseconds since the address was given; and from a choice or a search to the table that it leaves.
_OPEN = "performance.now()"
_FILTER = """(language) => {
  const list = document.querySelectorAll("#filters select");
  const last = [...list].find((each) => [...each.options].some((option) => option.value === language));
  last.value = language;
  const begin = performance.now();
  last.dispatchEvent(new Event("change"));
  return performance.now() - begin;
}"""
_SEARCH = """(text) => {
  const field = document.querySelector("#neurons input[type=search]");
  field.value = text;
  const begin = performance.now();
  field.dispatchEvent(new Event("input"));
  return performance.now() - begin;
}"""


def made_up(folder: Path, number: int) -> tuple[Path, dict]:
    """The manifest of a run of so many neurons, in the working directory, and their contexts."""
    layers, width = LARGE if number > LAYERS * WIDTH // 10 else (LAYERS, WIDTH)
    random, sites = np.random.default_rng(0), Sites.rectangle(layers, width)
    places = sites.located(np.sort(random.choice(sites.neurons, number, replace=False)))
    owners = [tuple(random.choice(LANGUAGES, 1 + int(random.random() < 0.1), replace=False)) for _ in range(number)]
    table = pd.DataFrame({**places, "entropy": random.random(number), "languages": owners})
    header = {"model": "made-up", "method": "lape"}
    Neurons(table, LANGUAGES, sites).save(folder / "lape.tsv", **header)
    headers = [folder / "lape.json"]
    for language in LANGUAGES:
        file = folder / "made-up" / f"{language}.npz"
        counts = random.integers(0, 1000, (layers, width))
        ActivationStatistics.of_counts(counts, 1000).save(file)
        headers.append(file.with_suffix(".json"))
        about = {"model": "made-up", "language": language}
        write_header(headers[-1], "statistics", **about, parameters={}, inputs=[], outputs=[file])
    config = folder / "config.json"
    own = {"run": "made-up", "languages": list(LANGUAGES), "models": ["made-up"], "catalogue": {"made-up": {}}}
    write_json(config, default_config() | own)
    write_json(folder / "manifest.json", build_manifest(headers, folder, config))
    return folder / "manifest.json", {("made-up", "lape"): _Contexts(number)}


class _Contexts:
    """Contexts that are made when they are asked for, `_DIFFERENT` of them over and over."""

    def __init__(self, number: int):
        random = np.random.default_rng(1)
        letters = np.array([chr(code) for code in (*range(97, 123), *range(0x4E00, 0x4F00))])
        self._words = [" " + "".join(random.choice(letters, random.integers(2, 8))) for _ in range(8000)]
        self._number = number
        self._made = cache(self._inspection)

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, number: int) -> Inspection:
        if number >= self._number:
            raise IndexError(number)
        return self._made(number % _DIFFERENT)

    def _inspection(self, number: int) -> Inspection:
        random = np.random.default_rng(number)

        def contexts(top: float) -> list[Context]:
            words, values = random.integers(0, len(self._words), (5, 25)), random.normal(size=(5, 25)) + top
            return [
                Context([self._words[word] for word in line], activations.tolist(), 12, place)
                for place, (line, activations) in enumerate(zip(words, values, strict=True))
            ]

        return Inspection(
            name="neuron",
            languages={
                language: InLanguage(
                    random.random(), random.random(), 9, random.integers(0, 999, 32), contexts(4), contexts(1)
                )
                for language in LANGUAGES
            },
            raised=self._words[:10],
            lowered=self._words[10:20],
            low=-1.0,
            width=0.2,
            raised_share={language: random.random() for language in LANGUAGES},
        )


def measured(number: int, turns: int) -> dict:
    """What a page of so many neurons takes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        manifest, contexts = made_up(Path("results"), number)
        files = page(Run(manifest), Path("captions"), contexts).write(Path("index.html"))
        sizes = [os.path.getsize(file) / 1e6 for file in files]
        with helper("browser").browser() as launched:
            opened = [_opened(launched, Path("index.html").resolve()) for _ in range(turns)]
            tab = opened[-1][1]
            for act, argument in ((_FILTER, "fr"), (_SEARCH, "fr")):  # the first call of each fills caches
                tab.evaluate(act, argument)
            filtered = [tab.evaluate(_FILTER, language) for language in LANGUAGES]
            searched = [tab.evaluate(_SEARCH, text) for text in ("z", "zh", "z", "j", "ja")]
    return {
        "neurons": number,
        "page_mb": sizes[0],
        "all_mb": sum(sizes),
        "open_s": asdict(Spread.of(np.array([seconds for seconds, _ in opened]))),
        "filter_ms": asdict(Spread.of(np.array(filtered))),
        "search_ms": asdict(Spread.of(np.array(searched))),
    }


def _opened(browser, file: Path):
    """Seconds from the address to the whole page, and the page."""
    tab = browser.new_page()
    tab.goto(file.as_uri())
    tab.wait_for_selector("body[data-ready]", state="attached")
    return tab.evaluate(_OPEN) / 1000, tab


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, nargs="+", default=[369, 23_000], help="numbers of neurons")
    parser.add_argument("--turns", type=int, default=5, help="how often the page is opened")
    parser.add_argument("--output", type=Path, default=Path("bench/results/explorer.json"))
    arguments = parser.parse_args()
    rows = [measured(number, arguments.turns) for number in arguments.neurons]
    shown = {
        "neurons": [f"{row['neurons']:,}" for row in rows],
        "page, MB": [f"{row['page_mb']:.1f}" for row in rows],
        "with cards, MB": [f"{row['all_mb']:.1f}" for row in rows],
        "opens, s": [f"{row['open_s']['median']:.2f}" for row in rows],
        "filter, ms": [f"{row['filter_ms']['median']:.0f}" for row in rows],
        "search, ms": [f"{row['search_ms']['median']:.0f}" for row in rows],
    }
    print(tabulate(shown, headers="keys", tablefmt="pipe", disable_numparse=True))
    content = {"machine": machine("cpu"), "versions": versions(), "pages": rows}
    write_json(arguments.output, content)


if __name__ == "__main__":
    main()
