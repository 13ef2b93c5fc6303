"""The numbers that the papers print (Tang et al. 2024, Kojima et al. 2024), as data; README.md names their source."""

import csv
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PaperModel:
    """A model whose neurons the paper counts.

    Attributes:
        name: as the paper writes it, in the form of the authors' files.
        layers, neurons_per_layer: L and I of the checkpoint.
        table: number of the table that lists its neurons per layer and language.
    """

    name: str
    layers: int
    neurons_per_layer: int
    table: int

    def layer_counts(self) -> "pd.Series":
        """Int64 by (language, layer), layers from 1; a row that is missing from a partial table is left out."""
        rows = read(f"table{self.table}").set_index("layer")
        return rows.unstack().rename_axis(["language", "layer"]).astype("Int64")

    def counts(self) -> "pd.Series":
        """Int64 by language: Table 3, or the sums of a table that is complete."""
        if self.table == 10:
            return read("table3").loc[0].rename_axis("language").astype("Int64")
        return self.layer_counts().groupby("language", sort=False).sum()

    def deactivated_quality(self) -> "pd.Series":
        """Table 1: content quality by (deactivated, language), where deactivated is "normal", "random" or a language.

        Empty for models that the table does not have.
        """
        return self._generation(1, ["deactivated"])

    def steered(self) -> "pd.Series":
        """Table 4: by (metric, setting, language), content_quality and language_accuracy, normal and steered.

        Empty for models that the table does not have.
        """
        return self._generation(4, ["metric", "setting"])

    def _generation(self, number: int, keys: list[str]) -> "pd.Series":
        """A table of the generation experiments, which the paper has for its largest model alone."""
        rows = read(f"table{number}").set_index(keys).rename_axis(columns="language").stack()
        return rows if self.table == 10 else rows.iloc[:0]


MODELS = (
    PaperModel("LLaMA-2-7B", 32, 11008, table=8),
    PaperModel("LLaMA-2-13B", 40, 13824, table=9),
    PaperModel("LLaMA-2-70B", 80, 28672, table=10),
    PaperModel("BLOOM-7B", 30, 16384, table=6),
)


def paper_model(*names: str | None) -> PaperModel | None:
    """The paper's model that goes by one of these names, None where none does.

    Args:
        *names: catalogue names or repositories of the hub, such as "llama-2-7b", "meta-llama/Llama-2-7b-hf" or
            "bigscience/bloom-7b1"; case and punctuation do not matter; None is passed over.
    """
    known = {key(model.name): model for model in MODELS}
    known["bloom7b1"] = known["bloom7b"]  # 7.1 billion parameters: the hub's name
    return next((known[key(name)] for name in names if name is not None and key(name) in known), None)


def pretraining_shares() -> "pd.DataFrame":
    """Table 7: percent of the pre-training corpora, indexed by language; columns LLaMA-2 and BLOOM."""
    return read("table7").set_index("language")[["LLaMA-2", "BLOOM"]]


def pretraining_languages() -> list[str]:
    """The languages of Table 7. It is read without pandas, since the workflow asks for them whenever it starts."""
    with files(__package__).joinpath("table7.csv").open(encoding="utf-8", newline="") as file:
        return [row["language"] for row in csv.DictReader(file)]


def read(name: str) -> "pd.DataFrame":
    """One of the files beside this one, by its stem."""
    import pandas as pd

    with files(__package__).joinpath(f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False)


def key(name: str) -> str:
    """A model's name without its owner, the suffix of transformers' format, case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower().rsplit("/", 1)[-1].removesuffix("-hf"))
