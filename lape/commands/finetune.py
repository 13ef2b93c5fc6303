"""Fine-tune a copy of a model on one language's instructions, for parameter variation; also under accelerate launch."""

import argparse
import dataclasses
import logging
import os
import shutil
from pathlib import Path

from lape.artifacts.files import checked, read_json, sha256, versions, write_header, writing
from lape.commands.arguments import positive
from lape.errors import LapeError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--instructions", type=Path, required=True, help="LANGUAGE.json of the instructions")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the examples")
    parser.add_argument("--batch-size", type=int, default=128, help="examples per optimizer step, over all devices")
    parser.add_argument("--device-batch-size", type=int, default=8, help="examples per forward pass on one device")
    parser.add_argument("--learning-rate", type=float, default=1e-5, help="learning rate, constant, without warm-up")
    parser.add_argument(
        "--optimizer", default="adamw_torch_fused", help="an optimizer that transformers' Trainer knows"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of the examples, and of dropout")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of an example; longer examples are cut")
    parser.add_argument(
        "--precision",
        choices=["auto", "bfloat16", "float32"],
        default="auto",
        help="type of matrix products; weights are float32. auto: bfloat16 where the model is bfloat16, else float32",
    )
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    parser.add_argument("--freeze-embeddings", action="store_true", help="train neither embeddings nor LM head")
    parser.add_argument(
        "--checkpoint-steps",
        type=int,
        default=0,
        help="steps between checkpoints, from which a killed run goes on; 0: none",
    )
    parser.add_argument(
        "--keep-steps",
        type=positive(int),
        nargs="+",
        default=[],
        metavar="N",
        help="write the copy after N steps, too, into the folder after-N beside the output",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--output", type=Path, required=True, help="LANGUAGE.safetensors; LANGUAGE.json beside it")


def run(arguments: argparse.Namespace) -> None:
    header = read_json(arguments.model, "model")
    if header["parameters"]["quantization"]:
        raise LapeError(f"{arguments.model}: quantised weights cannot be fine-tuned; leave `quantization` out")
    _keep_one_gpu(header["parameters"]["device"])
    import torch
    from safetensors.torch import save_file

    from lape.machine.allocator import keep_freed_memory
    from lape.machine.device import resolve_device
    from lape.parameter_variation import finetuning

    if arguments.freeze_embeddings:
        keep_freed_memory()  # otherwise the gradients of the embeddings, the largest blocks, fragment the memory
    torch.set_num_threads(arguments.threads)
    instructions = read_json(arguments.instructions, "instructions")
    data = checked(arguments.instructions, instructions, ".jsonl")
    settings = _settings(arguments, header)
    # Without its number, as the process sees the one GPU alone.
    device = resolve_device(header["parameters"]["device"].partition(":")[0])
    checkpoints = arguments.output.with_suffix(".checkpoints")
    training = finetuning.training_arguments(settings, checkpoints, device == "cpu")
    model, examples = _model_and_examples(arguments, header, finetuning.read_instructions(data))
    parameters = dataclasses.asdict(settings) | {"max_length": arguments.max_length, "threads": arguments.threads}
    del parameters["checkpoint_steps"], parameters["keep_steps"]  # shape no number
    identity = _identity(arguments, header, data, training, parameters)
    label = f"finetune {header['name']} {instructions['language']}"
    matrices, losses = finetuning.finetune(model, examples, settings, training, identity, label)
    if training.process_index > 0:
        return
    steps = len(losses) // settings.epochs
    epochs = [sum(losses[start : start + steps]) / steps for start in range(0, len(losses), steps)]
    fields = {
        "language": instructions["language"],
        "model": header["name"],
        "model_revision": header["revision"],
        "matrices": {name: list(weights.shape) for name, weights in matrices.items()},
        **examples.counts(),
        "device": training.device.type,
        "processes": training.world_size,
        "prompt": {"without_input": finetuning.PROMPT, "with_input": finetuning.PROMPT_WITH_INPUT},
        "parameters": parameters,
        "inputs": [arguments.model, arguments.model.with_name("tokenizer.json"), arguments.instructions, data],
    }
    for step in settings.keep_steps:
        loss = {"first_step": losses[0], "last_step": losses[step - 1]}
        _write_kept(arguments.output, finetuning.kept(checkpoints, step), step, fields | {"loss": loss})
    with writing(arguments.output) as temporary:
        save_file(matrices, temporary)
    fields |= {"steps": len(losses), "loss": {"first_step": losses[0], "epochs": epochs}}
    write_header(arguments.output.with_suffix(".json"), "finetuned", **fields, outputs=[arguments.output])
    shutil.rmtree(checkpoints, ignore_errors=True)
    ends = epochs[0], epochs[-1]
    logger.info("%s: %d steps, loss %.3f in the first epoch, %.3f in the last", label, len(losses), *ends)


def _write_kept(output: Path, kept: Path, step: int, fields: dict) -> None:
    """Write the copy after fewer steps into a folder beside the output, with a header of its own.

    The file is copied and not moved, so that a checkpoint can be gone on from until the whole training is written.
    """
    earlier = output.parent / f"after-{step}" / output.name
    with writing(earlier) as temporary:
        shutil.copyfile(kept, temporary)
    write_header(earlier.with_suffix(".json"), "finetuned", **fields, steps=step, outputs=[earlier])


def _settings(arguments: argparse.Namespace, header: dict):
    """The settings of the training, once `auto` is decided."""
    from lape.parameter_variation.finetuning import FineTuning

    settings = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(FineTuning)}
    settings["keep_steps"] = tuple(sorted(set(arguments.keep_steps)))
    if arguments.precision == "auto":
        settings["precision"] = "bfloat16" if header["dtype"] == "bfloat16" else "float32"
    return FineTuning(**settings)


def _model_and_examples(arguments: argparse.Namespace, header: dict, examples: list[dict[str, str]]):
    """The model with float32 weights, and the examples as tokens."""
    from lape.model.decoder import eos_token
    from lape.model.loading import load_model
    from lape.model.tokenizer import load_tokenizer
    from lape.parameter_variation.finetuning import encode

    # On the CPU at first: the Trainer, or FSDP part by part, brings the model to its devices. The weights are widened
    # from the artifact's dtype: the change is measured from these weights, and they are zeroed later.
    model, _ = load_model(arguments.model, device="cpu", device_map=None, tensor_parallel=1, compile=False)
    eos = eos_token(model)
    if eos is None:
        raise LapeError(f"{arguments.model}: the model names no EOS token; set eos_token_id in its config.json")
    tokenizer = load_tokenizer(arguments.model.with_name("tokenizer.json"), arguments.threads)
    encoded = encode(examples, tokenizer, bos=header["bos_token_id"], eos=eos, max_length=arguments.max_length)
    if encoded.dropped:
        logger.warning("finetune: %d prompts of %d tokens and more are left out", encoded.dropped, arguments.max_length)
    return model.float(), encoded


def _identity(arguments: argparse.Namespace, header: dict, data: Path, training, parameters: dict) -> dict:
    """What shapes the result. A checkpoint of an earlier run is used only if nothing of this has changed."""
    from lape.artifacts.code import code_hash
    from lape.model.architectures import ffn_entry

    return {
        **parameters,
        "model": sha256(arguments.model),
        "instructions": sha256(data),
        "code": code_hash("lape.commands.finetune"),
        "ffn": ffn_entry(header["model_type"]),
        "device": training.device.type,
        "processes": training.world_size,
        "versions": {package: versions()[package] for package in ("torch", "transformers")},
    }


def _keep_one_gpu(device: str) -> None:
    """Let the process see the model's GPU alone, as the Trainer would take all that it sees.

    A launcher has given each rank its own GPU already. This has no effect once CUDA was asked for the first time.
    """
    if "LOCAL_RANK" in os.environ or device == "cpu":
        return
    visible = list(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    number = int(device.partition(":")[2] or 0)
    if number < len(visible) or "CUDA_VISIBLE_DEVICES" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)
