"""Score every unit of a model by how well its response tells each language from the others (average precision)."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import read_json, write_header, writing
from lape.commands.arguments import positive

logger = logging.getLogger(__name__)

HALVES = (1, 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--responses", type=Path, required=True, help="header of the responses")
    parser.add_argument(
        "--half",
        type=int,
        choices=HALVES,
        help="score by every second sentence of each language alone, from so many on",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="device that ranks the units")
    parser.add_argument(
        "--backend", choices=["extension", "reference"], default="extension", help="how units are ranked on a CPU"
    )
    parser.add_argument("--threads", type=positive(int), default=1, help="CPU threads; their number changes no bit")
    parser.add_argument("--output", type=Path, required=True, help="average_precision.npy; a .json beside it")


def run(arguments: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from lape.expert_units.average_precision import average_precision
    from lape.expert_units.blocks import Responses
    from lape.kernels import ops
    from lape.machine.device import resolve_device
    from lape.machine.progress import progress

    torch.set_num_threads(arguments.threads)
    resolve_device(arguments.device)
    backend = ops.active_backend(arguments.device, arguments.backend, cuda=False)
    header, responses = read_json(arguments.responses, "responses"), Responses.load(arguments.responses)
    label = f"average_precision {header['model']}"
    if arguments.half:
        responses, label = responses.half(arguments.half), f"{label} half {arguments.half}"
    with progress(responses.units, label, "unit") as bar:
        precision = average_precision(
            responses, backend=arguments.backend, device=arguments.device, on_chunk=bar.update
        )

    with writing(arguments.output) as temporary:
        np.save(temporary, precision)
    positives = np.bincount(responses.labels, minlength=len(responses.languages)).tolist()
    write_header(
        arguments.output.with_suffix(".json"),
        "average_precision_half" if arguments.half else "average_precision",
        model=header["model"],
        model_revision=header["model_revision"],
        languages=list(responses.languages),
        positives=dict(zip(responses.languages, positives, strict=True)),
        sentences=len(responses.labels),
        units=responses.units,
        linear_layers=header["linear_layers"],
        neuron_part=header["neuron_part"],
        device=arguments.device,
        backend=backend,
        parameters={"half": arguments.half, "device": arguments.device, "backend": arguments.backend},
        inputs=[arguments.responses],  # which names the hashes of the table and of every block
        outputs=[arguments.output],
    )
    best = zip(responses.languages, precision[0].max(axis=1), strict=True)
    logger.info(
        "%s: %d units, the best %s", label, responses.units, ", ".join(f"{name} {value:.3f}" for name, value in best)
    )
