"""Neurons artifacts, written by hand."""

import json

LANGUAGES = ["no", "nan"]


def neurons_header(folder, model, owners, method="lape", sets=LANGUAGES, layers=4, neurons_per_layer=8):
    """A neurons artifact from {(layer, index): "comma,separated"}."""
    stem = folder / f"{model}-{method}"
    lines = ["layer\tindex\tentropy\tlanguages"]
    lines += [f"{layer}\t{index}\t0.5\t{names}" for (layer, index), names in sorted(owners.items())]
    stem.with_suffix(".tsv").write_text("\n".join(lines) + "\n")
    counts = {name: sum(name in names.split(",") for names in owners.values()) for name in sets}
    header = {"artifact": "neurons", "model": model, "method": method, "languages": LANGUAGES, "sets": sets}
    stem.with_suffix(".json").write_text(
        json.dumps({**header, "layers": layers, "neurons_per_layer": neurons_per_layer, "counts": counts})
    )
    return stem.with_suffix(".json")
