"""The files of config/presets, made from the table of languages beside them: `make format` writes them anew."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "config" / "presets"
# Gurgurov et al. 2026: the order of the dataset's card.
CLAS_BENCH = "bo mt it es de ja ar zh nl fr pt ru ko hi tr pl sv da no en sk el sw kk ka uk fa th id vi cs ro".split()
# Marchisio et al. 2024: language -> the source of 100 prompts in it, and the commit at which the file was seen.
_FIRST, _SECOND = "6e48812baa5e3a0b82433359065efe5a106638b1", "31f40a24c04d9a310d39f3af87dc4a538235d2a3"
LANGUAGE_CONFUSION = {
    "en": ("okapi", _FIRST),
    "fr": ("okapi", _SECOND),
    "it": ("okapi", _FIRST),
    "de": ("okapi", _SECOND),
    "zh": ("okapi", _FIRST),
    "vi": ("okapi", _SECOND),
    "es": ("okapi", _SECOND),
    "id": ("okapi", _FIRST),
    "pt": ("okapi", _SECOND),
    "ar": ("okapi", _FIRST),
    "ru": ("dolly", _SECOND),
    "hi": ("dolly", _FIRST),
    "tr": ("aya", _FIRST),
    "ja": ("native", _FIRST),
    "ko": ("native", _SECOND),
}
_PROMPTS = (
    "https://raw.githubusercontent.com/for-ai/language-confusion/{commit}/test_sets/monolingual/{source}/{language}.csv"
)

_HEAD = """\
# {title}, merged over a model's configuration:
#
#     lape plan my.yaml {files}
#     snakemake --cores all --configfile my.yaml {files}{target}
#
{notes}# The hub cannot be reached where this file is tested. tests/helpers/presets.py makes it from languages.csv.
"""
_TEXT = """\
# Text: FineWeb-2 (ODC-By 1.0), which has no English; that is a sample of FineWeb (ODC-By 1.0).
"""
_FLORES = """\
# FLORES+ (CC BY-SA 4.0) is gated: accept its terms on the hub and set HF_TOKEN in the environment, which is written
# nowhere. It has the same sentences in every language, for the expert units, translations and the similarity by layer.
"""
_CLAS = """\
# CLaS-Bench (Gurgurov et al. 2026, arXiv:2601.08331; CC BY-4.0): 70 questions in 32 languages. No commit of the dataset
# could be looked up, so that its branch is named: put a commit in its place. Requests to answer in a language are in
# English. The benchmark tells languages by lid218e, and a judge rates the relevance from 0 to 2. Here langdetect tells
# them, and the relevance is chrF, or the rating of a judge from 1 to 10.
"""
_CONFUSION = """\
# Language Confusion Benchmark (Marchisio et al. 2024, arXiv:2406.20052; Apache-2.0): 100 monolingual prompts in each of
# 15 languages, from one of its sources. A number is another question in every language, so that chrF against the answer
# in another language says nothing. The benchmark samples; answers here are greedy.
"""


def languages() -> dict[str, dict[str, str]]:
    """Code of a language -> its row of the table, in the table's order."""
    with open(FOLDER / "languages.csv", encoding="utf-8", newline="") as file:
        return {row["code"]: row for row in csv.DictReader(file)}


def presets() -> dict[str, str]:
    """Name of a preset's file -> its text."""
    known = languages()
    texts = {}
    for number, budget in ((30, {"train": 10_000_000}), (100, {"train": 4_000_000, "allow_fewer": True})):
        codes = [*known][:number]
        name = f"config/presets/fineweb2-{number}.yaml"
        texts[f"fineweb2-{number}.yaml"] = _head(f"Text in {number} languages", name, "", _TEXT) + _written(
            {"languages": codes, **_text(codes, budget), **_TRANSLATED_NOT}
        )
        both = f"{name} config/presets/flores-{number}.yaml"
        title = f"Aligned sentences in {number} languages"
        texts[f"flores-{number}.yaml"] = _head(title, both, " -- all expert_units", _FLORES) + _written(
            {"languages": codes, **_flores(codes)}
        )
    clas = {
        "languages": CLAS_BENCH,
        **_text(CLAS_BENCH, {"train": 10_000_000}),
        "questions": {
            "number": 70,
            "columns": {"number": "question_id"},
            "hub": {
                "path": "DGurgurov/CLaS-Bench",
                "revision": "main",
                "split": "train",
                "language_column": "language_code",
            },
        },
        **_asked(CLAS_BENCH, 256),
        "experiments": {"steering_methods": {"language": "en"}},
        **_TRANSLATED_NOT,
    }
    target = " -- steering_methods"
    texts["clas-bench.yaml"] = _head("CLaS-Bench", "config/presets/clas-bench.yaml", target, _CLAS + _TEXT)
    texts["clas-bench.yaml"] += _written(clas)
    codes = [*LANGUAGE_CONFUSION]
    files = {
        language: _PROMPTS.format(language=language, source=source, commit=commit)
        for language, (source, commit) in LANGUAGE_CONFUSION.items()
    }
    confusion = {
        "languages": codes,
        **_text(codes, {"train": 10_000_000}),
        "questions": {
            "number": 100,
            "columns": {"question": "prompt"},
            "hub": {"path": "csv", "split": "train", "data_files": files},
        },
        **_asked(codes, 100),
        **_TRANSLATED_NOT,
    }
    title, name = "The Language Confusion Benchmark", "config/presets/language-confusion.yaml"
    texts["language-confusion.yaml"] = _head(title, name, " -- answers_steered", _CONFUSION + _TEXT)
    texts["language-confusion.yaml"] += _written(confusion)
    return texts


_TRANSLATED_NOT = {"translation": {"corpora": {"questions": {"source": "questions", "languages": []}}}}


def _head(title: str, files: str, target: str, notes: str) -> str:
    return _HEAD.format(title=title, files=files, target=target, notes=notes)


def _text(codes: Iterable[str], budget: dict) -> dict:
    """The sections of a run whose text is FineWeb-2's."""
    known = languages()
    own = {code: {"config": known[code]["fineweb2"]} for code in codes}
    own["en"] = {
        "path": "HuggingFaceFW/fineweb",
        "config": "sample-10BT",
        "revision": "9bb295ddab0e05d785b879661af7260fed5140fc",
    }
    hub = {
        "path": "HuggingFaceFW/fineweb-2",
        "revision": "af9c13333eb981300149d5ca60a8e9d659b276b9",
        "documents": 40_000,
        "newest": None,
        "languages": own,
    }
    return {
        "corpus": {"source": "hub", "hub": hub},
        "tokens": {**budget, "valid": 102_400, "valid_chunk_length": 512},
    }


def _flores(codes: Iterable[str]) -> dict:
    """The sections of a run whose aligned sentences are those of FLORES+."""
    known = languages()
    dataset = {
        "path": "openlanguagedata/flores_plus",
        "config": "{language}",
        "revision": "5fec6c13f9e5a4db2f745d4ec0d7c9721ddc4f06",
    }
    names = {code: known[code]["flores"] for code in codes}
    dev = {**dataset, "split": "dev", "names": names}
    devtest = {**dataset, "split": "devtest", "names": names}
    return {
        "sentences": {"source": "hub", "hub": {"datasets": [{**dev, "text_columns": ["text"]}]}},
        "structure": {"number": 200, "hub": {**dev, "columns": {"number": "id", "question": "text"}}},
        "translation": {
            "corpora": {
                **_TRANSLATED_NOT["translation"]["corpora"],
                "flores": {"source": "hub", **devtest, "text_column": "text", "id_column": "id"},
            }
        },
    }


def _asked(codes: Iterable[str], tokens: int) -> dict:
    """The section `generation`, with a request in English to answer in each language."""
    known = languages()
    suffixes = {code: f" Please answer in {known[code]['name']}." for code in codes}
    return {"generation": {"max_new_tokens": tokens, "suffixes": suffixes}}


def _written(config: dict) -> str:
    """A configuration as YAML. What holds no mapping stands in one line."""
    return "".join(f"{line}\n" for line in _lines(config, ""))


def _lines(config: dict, indent: str) -> Iterator[str]:
    for key, value in config.items():
        name = yaml.safe_dump(key).split("\n")[0]
        if isinstance(value, dict) and any(map(_deep, value.values())):
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_in_line(value)}"


def _deep(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and len(value) > 60)


def _in_line(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("...\n").rstrip()


if __name__ == "__main__":
    for name, text in presets().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
