"""Find language-specific parameters from copies of the model that were fine-tuned on one language each (PV)."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_json, write_header
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json of the model before fine-tuning")
    parser.add_argument("--finetuned", type=Path, nargs="+", required=True, help="LANGUAGE.json of every copy")
    parser.add_argument("--ratio", type=float, default=0.01, help="share of all parameters of the matrices")
    parser.add_argument("--output", type=Path, required=True, help="pv.safetensors; pv.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from safetensors import SafetensorError, safe_open

    from lape.model.loading import load_model
    from lape.parameter_variation.selection import select_parameters

    # On the CPU in its own dtype: matrices are widened to float32 one block at a time.
    model, description = load_model(arguments.model, device="cpu", device_map=None, tensor_parallel=1, compile=False)
    weights = dict(model.named_parameters())
    finetuned, names = {}, {}
    for path in arguments.finetuned:
        header = read_json(path, "finetuned")
        if header["model_revision"] != description["revision"]:
            raise LapeError(f"{path}: was trained from another model than {arguments.model}; fine-tune that one")
        if header["language"] in finetuned:
            raise LapeError(f"{path}: {header['language']} comes twice; pass each language once")
        data = checked(path, header, ".safetensors")
        try:
            file = safe_open(data, "numpy")
            finetuned[header["language"]] = {name: file.get_slice(name) for name in header["matrices"]}
        except (OSError, SafetensorError) as error:
            raise LapeError(f"{data}: cannot be read ({error}); fine-tune again") from error
        names[path] = list(header["matrices"])
    first, matrices = next(iter(names.items()))
    missing = [name for name in matrices if name not in weights]
    if missing:
        raise LapeError(f"{first}: the model has no matrix {missing[0]}; fine-tune this model")
    base = {name: weights[name] for name in matrices}

    parameters = select_parameters(base, finetuned, arguments.ratio)
    parameters.save(arguments.output)
    write_header(
        arguments.output.with_suffix(".json"),
        "parameters",
        method="pv",
        model=description["name"],
        model_revision=description["revision"],
        languages=list(finetuned),
        **parameters.description(),
        parameters={"ratio": arguments.ratio},
        inputs=[arguments.model, *(path.with_suffix(end) for path in names for end in (".json", ".safetensors"))],
        outputs=[arguments.output],
    )
    logger.info(
        "select_parameters: %d of %d parameters up to entropy %.4f (maximum %.4f): %s",
        *(parameters.summary[key] for key in ("selected", "wanted", "entropy_at_cut", "entropy_maximum")),
        ", ".join(f"{name} {count}" for name, count in parameters.counts().items()),
    )
