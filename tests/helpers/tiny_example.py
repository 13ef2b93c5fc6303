"""The tiny model and tiny texts in place of the embedded ones, for notebooks that a test executes."""

import tempfile
from pathlib import Path

from tiny_data import LANGUAGES, make_model, make_text

import lape
from lape.text import identification


def example_model(*arguments, **settings) -> tuple:
    """A tiny model with room for the questions of the notebooks, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), max_position_embeddings=1024)
        return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def example_texts(language: str, split: str = "train", count: int = 8) -> list[str]:
    """Texts of a tiny language that stands for the wanted one."""
    own = LANGUAGES[sum(language.encode()) % len(LANGUAGES)]
    return [make_text(own, 60, number + 100 * (split == "valid")) for number in range(count)]


def replace() -> None:
    """Let `lape` give these from now on, and let langdetect stand in for lingua, whose models load for many seconds."""
    identification.IDENTIFIERS["lingua"] = identification.by_langdetect
    lape.example_model, lape.example_texts = example_model, example_texts
