"""The card of an exported checkpoint, README.md: what was done to which model, and how exact the export is."""

from collections.abc import Mapping

from lape.errors import counted
from lape.export.comparison import Comparison
from lape.export.edits import Edits

CITATIONS = {
    "neurons": "Tang et al. 2024, *Language-Specific Neurons: The Key to Multilingual Capabilities in Large Language "
    "Models* (arXiv:2402.16438)",
    "expert_units": "Kojima et al. 2024, *On the Multilingual Ability of Decoder-based Pre-trained Language Models: "
    "Finding and Controlling Language-Specific Neurons* (arXiv:2404.02431)",
}


def card(
    model: Mapping,
    title: str,
    found: Mapping,
    edits: Edits,
    layers: Mapping[int, int],
    inputs: Mapping[str, str],
    compared: Comparison | None,
) -> str:
    """The text of README.md.

    Args:
        model: header of the model.
        title: what was switched, in words.
        found: header of the neurons or the expert units.
        edits: of the weights.
        layers: layer, from 0 -> number of neurons or units that were changed in it.
        inputs: artifact that the export was made from -> its SHA-256.
        compared: None where no logits were compared.
    """
    units = found["artifact"] == "expert_units"
    noun = "unit" if units else "neuron"
    base = f"base_model: {model['path']}\n" if model["source"] == "hub" else ""
    rows = {
        "base model": f"{model['name']} ({model['architecture']})",
        "revision": f"`{model['revision']}`",
        "languages of the run": ", ".join(found["languages"] if units else found["sets"]),
        "method": "expert units" if units else found.get("method") or "unknown",
        **{f"`{name}`" if name.endswith((".json", ".tsv")) else name: f"`{digest}`" for name, digest in inputs.items()},
    }
    return "\n".join(
        [
            f"---\n{base}tags: [lape, language-specific-neurons]\n---",
            f"# {model['name']}, {title}\n",
            "An ordinary checkpoint of transformers: it runs without lape. Tokenizer, dtype and all other weights are "
            "those of the base model.",
            f"\n{_done(edits, noun)}\n",
            "| | |\n|---|---|",
            *(f"| {name} | {value} |" for name, value in rows.items()),
            f"\n| layer, from 1 | {noun}s |\n|---|---|",
            *(f"| {layer + 1} | {number} |" for layer, number in sorted(layers.items()) if number),
            f"\n{_compared(compared)}",
            f"\nThe method is of {CITATIONS['expert_units' if units else 'neurons']}. Please cite it. `lape.json` has "
            "the command and the hashes of all files.",
            "\nThe terms of the base model's licence hold for this checkpoint.\n",
        ]
    )


def _done(edits: Edits, noun: str) -> str:
    done = []
    if edits.zeroed:
        done.append(
            f"Off: {counted(edits.zeroed, noun)}. The column of each in its down projection is zero, so that its "
            "activation reaches nothing."
        )
    if edits.scaled:
        done.append(f"Scaled: {counted(edits.scaled, noun)}. The column of each in its down projection is multiplied.")
    if edits.constant:
        done.append(
            f"Constant: {counted(edits.constant, noun)}. The row of each in its linear layer is zero, and the bias "
            "there gives the value."
        )
    if edits.settings:
        done.append(f"config.json sets {', '.join(edits.settings)} to true for it; all other new biases are zero.")
    return " ".join(done)


def _compared(compared: Comparison | None) -> str:
    if compared is None:
        return "Its logits were not compared with those of the perturbed model."
    return (
        f"On {compared.tokens:,} tokens of text, in {compared.dtype} on {compared.backend}, its logits differ by at "
        f"most {compared.difference:.3g} from those of the model that lape perturbs while it runs. What was switched "
        f"moves a logit by up to {compared.effect:.3g}; the largest logit is {compared.logit:.3g}."
    )
