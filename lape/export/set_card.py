"""The card of a neuron set, README.md: what was found on which model, by which method, from which text, how surely."""

import json
from collections.abc import Mapping
from pathlib import Path

from lape.artifacts.files import versions
from lape.export.card import CITATIONS
from lape.export.neuron_set import data_file
from lape.export.terms import Terms
from lape.items.neurons.stability import stability
from lape.text.language_codes import base_language


def set_card(
    model: Mapping,
    methods: Mapping[str, Mapping],
    rows: Mapping[str, tuple[int, str]],
    terms: Terms,
    measured: Path | None,
    inputs: Mapping[str, str],
) -> str:
    """The text of README.md, which begins with what the hub reads.

    Args:
        model: header of the model.
        methods: method -> the fields of its header.
        rows: configuration of the dataset -> number of its rows, and what a row is; the default first.
        terms: of the text.
        measured: header of the neurons' stability; None where it was not measured.
        inputs: artifact that the set was made from -> its SHA-256.
    """
    languages = list(dict.fromkeys(code for method in methods.values() for code in _languages(method)))
    settings = {name: json.dumps(method["parameters"], ensure_ascii=False) for name, method in methods.items()}
    cited = {"expert_units" if name == "expert_units" else "neurons" for name in methods}
    return "\n".join(
        [
            f"---\n{_metadata(model, languages, list(rows))}---",
            f"# Language-specific neurons of {model['name']}\n",
            f"What `lape` found in {model['name']} for {', '.join(languages)}. Layers and neurons are counted from 0.",
            *_loading(list(rows)),
            "| configuration | rows | a row is |\n|---|---|---|",
            *(f"| {name} | {number:,} | {what} |" for name, (number, what) in rows.items()),
            f"\n## Model\n\n{_checkpoint(model)}",
            "\n## Methods\n\n| method | settings |\n|---|---|",
            *(f"| {name} | `{text}` |" for name, text in settings.items()),
            f"\n## Text\n\n{terms}.{_counted(methods)}",
            f"\n## How sure\n\n{_sure(measured)}",
            "\n## Citation\n\nPlease cite the papers whose methods these are, and lape.\n",
            *(f"- {CITATIONS[name]}" for name in sorted(cited, reverse=True)),
            f"- The lape developers, *lape: language-specific neurons, found, switched and measured*, version "
            f"{versions()['lape']}",
            "\n## Made from\n\n| artifact | SHA-256 |\n|---|---|",
            *(f"| `{name}` | `{digest}` |" for name, digest in inputs.items()),
            "",
        ]
    )


def _loading(configurations: list[str]) -> list[str]:
    """How to load the set once the folder is a repository, whose name nobody knows yet."""
    lines = ["\n```python", "from datasets import load_dataset\n"]
    lines += [f'rows = load_dataset("OWNER/NAME", "{configurations[0]}", split="train")', "```\n"]
    if configurations[0].startswith("neurons_"):
        method = configurations[0].removeprefix("neurons_")
        lines += ["```python", "import lape\n", f'neurons = lape.load_neurons("OWNER/NAME", "{method}")']
        lines += ['with lape.deactivate(model, neurons, "LANGUAGE"):', "    ...", "```\n"]
    return lines


def _languages(method: Mapping) -> list[str]:
    return method["sets"] if method["artifact"] == "neurons" else method["languages"]


def _metadata(model: Mapping, languages: list[str], configurations: list[str]) -> str:
    """What the hub reads: the languages by codes that it knows, and where each configuration's rows are."""
    from huggingface_hub import DatasetCardData

    known = {code for code in map(base_language, languages) if code.isalpha() and len(code) in (2, 3)}
    configs = [{"config_name": name, "data_files": data_file(name)} for name in configurations]
    configs[0]["default"] = True
    data = DatasetCardData(
        language=sorted(known) or None,
        pretty_name=f"Language-specific neurons of {model['name']}",
        tags=["lape", "language-specific-neurons", "interpretability"],
        configs=configs,
        model={"id": model["path"] if model["source"] == "hub" else model["name"], "revision": model["revision"]},
    )
    return f"{data.to_yaml()}\n"


def _checkpoint(model: Mapping) -> str:
    """Which weights the neurons are of, as far as the model's header says it."""
    if model["source"] == "hub":
        weights = f"`{model['path']}` of the hub at revision `{model['revision']}`."
    elif model["source"] == "gguf":
        name, digest = next((Path(path).name, digest) for path, digest in model["inputs"].items())
        weights = f"The quantised weights of `{name}` (SHA-256 `{digest}`), dequantised to {model['dtype']}."
    else:
        weights = f"A folder of weights, whose files together have the SHA-256 `{model['revision']}`."
    quantised = model.get("scheme") or model["parameters"]["quantization"]
    return f"{weights} {model['architecture']}, {model['dtype']}" + (
        f", quantised ({quantised})." if quantised else "."
    )


def _counted(methods: Mapping[str, Mapping]) -> str:
    """How much of the text was counted, where a method's header has it."""
    tokens = next((method["tokens"] for method in methods.values() if "tokens" in method), {})
    return f" Tokens counted: {', '.join(f'{code} {number:,}' for code, number in tokens.items())}." if tokens else ""


def _sure(measured: Path | None) -> str:
    if measured is None:
        return "Not measured. In the run's workspace `snakemake --cores all stability` measures it."
    found = stability([measured])
    lines = [
        f"| {row.language} | {row.neurons} ({row.low:.0f} to {row.high:.0f}) | {row.jaccard:.2f} | {row.stable:.0%} |"
        for row in found.itertuples()
    ]
    return "\n".join(
        [
            f"Of the method {found['method'][0]}, from other parts of the same text:\n",
            "| language | neurons (95% interval) | Jaccard index of two halves of the text | of them selected by "
            "95% of the resamples |\n|---|---|---|---|",
            *lines,
        ]
    )
