"""Fine-tuning of one copy of a model on the instructions of one language, for parameter variation (section 3.1 (d)).

Transformers' Trainer fine-tunes all weights on the answers alone. Weights, gradients and AdamW's two moments are
float32, 16 bytes per parameter, whatever dtype the model has elsewhere. In bfloat16 rounding would undo every step: a
step of 1e-5 on a weight of 0.03 is a twelfth of the distance between neighbouring bfloat16 numbers there. Only the
matrix products run in bfloat16, by autocast. Under `accelerate launch` with a configuration of FSDP, the ranks share
weights, gradients and moments.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from lape.artifacts.files import read_json, write_json, writing
from lape.errors import LapeError, first_line
from lape.machine.progress import progress
from lape.model.ffn import find_ffn

# Stanford Alpaca's prompts without their first sentence, which would put English into the training of every language.
PROMPT = "### Instruction:\n{instruction}\n\n### Response:\n"
PROMPT_WITH_INPUT = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
IGNORED = -100  # the label of a position that is not in the loss
# Names of two files: the mark of a whole checkpoint, in its folder, and the identity of the training, beside them.
_WHOLE, _IDENTITY = "whole", "identity.json"
_ROWS = 32  # rows of logits that exist in float32 at once


@dataclass(frozen=True)
class FineTuning:
    """Settings of a training. The defaults are the paper's settings, where it names them.

    Attributes:
        epochs: passes over the examples.
        batch_size: examples per step, over all devices.
        device_batch_size: examples per forward pass on one device. Gradients add up until batch_size is reached.
        learning_rate: learning rate, which is constant and has no warm-up.
        optimizer: transformers' name of the optimizer. adamw_torch needs more memory than the default, as it makes
            several passes.
        seed: seed of the order of the examples, and of dropout where the model has any.
        precision: "bfloat16" (by autocast) or "float32": the format of the matrix products.
        gradient_checkpointing: compute activations again in the backward pass, to save memory.
        freeze_embeddings: do not train the token embeddings and the LM head, in which PV selects nothing. In a small
            model with a large vocabulary they take most of the memory and a third of the time.
        checkpoint_steps: steps between checkpoints; 0 for no checkpoint.
        keep_steps: numbers of steps, below that of the whole training, after which the matrices are kept too.
    """

    epochs: int = 2
    batch_size: int = 128
    device_batch_size: int = 8
    learning_rate: float = 1e-5
    optimizer: str = "adamw_torch_fused"
    seed: int = 0
    precision: str = "bfloat16"
    gradient_checkpointing: bool = False
    freeze_embeddings: bool = False
    checkpoint_steps: int = 0
    keep_steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Encoded:
    """Examples as token ids.

    Attributes:
        ids: token ids of every example: BOS (where there is one), prompt, answer, EOS.
        prompts: length of every example's prompt, BOS included.
        truncated: number of examples that were longer than the maximum, and were cut.
        dropped: number of examples that were dropped, as the cut left nothing of their answer.
    """

    ids: list[list[int]]
    prompts: list[int]
    truncated: int
    dropped: int

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> dict:
        return {"ids": self.ids[number], "prompt": self.prompts[number]}

    @property
    def answer_tokens(self) -> int:
        """Number of tokens that an epoch trains on, EOS included."""
        return sum(map(len, self.ids)) - sum(self.prompts)

    def counts(self) -> dict[str, int]:
        """The fields of the header of a finetuned artifact that describe the examples."""
        counts = {"examples": len(self), "examples_truncated": self.truncated, "examples_dropped": self.dropped}
        return counts | {"answer_tokens": self.answer_tokens}


def read_instructions(path: str | Path) -> list[dict[str, str]]:
    """Read examples from JSON lines with the keys instruction, input (may be empty) and output.

    Raises:
        LapeError: the file cannot be read, a line is no example, or there is no example.
    """
    examples = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    example = json.loads(line)
                    texts = {key: example[key] for key in ("instruction", "input", "output")}
                except (ValueError, KeyError, TypeError) as error:
                    raise LapeError(
                        f"{path} line {number}: is not a JSON object with instruction, input and output "
                        f"({type(error).__name__}); mend it"
                    ) from error
                if not all(isinstance(text, str) for text in texts.values()):
                    raise LapeError(f"{path} line {number}: instruction, input and output are not all text; mend it")
                if not (texts["instruction"].strip() and texts["output"].strip()):
                    raise LapeError(f"{path} line {number}: instruction or output is empty; fill it in or delete it")
                examples.append(texts)
    except (OSError, UnicodeDecodeError) as error:
        raise LapeError(f"{path}: cannot be read as UTF-8 ({error}); write it anew") from error
    if not examples:
        raise LapeError(f"{path}: holds no example; write some")
    return examples


def encode(
    examples: Sequence[dict[str, str]], tokenizer: Tokenizer, *, bos: int | None, eos: int, max_length: int
) -> Encoded:
    """Token ids of examples, cut to a maximum length.

    Prompt and answer are tokenised separately, so that it is certain at which token the answer starts.

    Args:
        examples: see `read_instructions`.
        tokenizer: tokenizer of the model.
        bos: id of the token that comes first; None for no such token.
        eos: id of the token that ends an answer. A cut removes it first.
        max_length: largest number of tokens in an example.

    Raises:
        LapeError: no example has a token of its answer within the maximum.
    """
    prompts = [(PROMPT_WITH_INPUT if example["input"].strip() else PROMPT).format(**example) for example in examples]
    heads = tokenizer.encode_batch(prompts, add_special_tokens=False)
    answers = tokenizer.encode_batch([example["output"] for example in examples], add_special_tokens=False)
    start = [] if bos is None else [bos]
    rows = [(start + head.ids, answer.ids) for head, answer in zip(heads, answers, strict=True)]
    kept = [(prompt, answer) for prompt, answer in rows if len(prompt) < max_length]
    if not kept:
        raise LapeError(f"instructions: no prompt is shorter than {max_length} tokens; raise the maximum length")
    return Encoded(
        ids=[[*prompt, *answer, eos][:max_length] for prompt, answer in kept],
        prompts=[len(prompt) for prompt, _ in kept],
        truncated=sum(len(prompt) + len(answer) + 1 > max_length for prompt, answer in kept),
        dropped=len(rows) - len(kept),
    )


def collate(rows: Sequence[dict]) -> dict[str, Tensor]:
    """Make a batch of examples, padded on the right to the longest. Padding and prompts are not in the loss."""
    longest = max(len(row["ids"]) for row in rows)
    ids, mask, labels = (torch.full((len(rows), longest), value) for value in (0, 0, IGNORED))
    for number, row in enumerate(rows):
        length = len(row["ids"])
        ids[number, :length] = torch.tensor(row["ids"])
        mask[number, :length] = 1
        labels[number, row["prompt"] : length] = ids[number, row["prompt"] : length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def weight_matrices(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight matrix of MHA and FFN (Eq. 1-3), in the model's order.

    These are the parameters inside the decoder layers that have two or more dimensions: no embedding, norm, bias or LM
    head.
    """
    layers = {id(layer) for layer in find_ffn(model).layers}
    return {
        f"{prefix}.{name}": tuple(weight.shape)
        for prefix, module in model.named_modules()
        if id(module) in layers
        for name, weight in module.named_parameters()
        if weight.dim() >= 2
    }


def training_arguments(settings: FineTuning, folder: str | Path, cpu: bool) -> TrainingArguments:
    """The Trainer's form of the settings. Make it before the model is loaded, as it joins the ranks of a launcher.

    Args:
        settings: settings of the training.
        folder: folder of the checkpoints.
        cpu: use no GPU.

    Raises:
        LapeError: the Trainer or the device does not take a setting, or batch_size is no multiple of the examples that
            all devices take in a pass.
    """
    # Later versions of transformers have renamed a field.
    fields = TrainingArguments.__dataclass_fields__
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    try:
        arguments = TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.device_batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            optim=settings.optimizer,
            seed=settings.seed,
            **{checkpointing: settings.gradient_checkpointing},
            save_strategy="steps" if settings.checkpoint_steps else "no",
            save_steps=settings.checkpoint_steps,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=cpu,
            dataloader_pin_memory=not cpu,
        )
        world = arguments.world_size
    except (ValueError, ImportError) as error:
        raise LapeError(f"fine-tuning: the Trainer refuses the settings ({first_line(error)}); mend them") from error
    steps, rest = divmod(settings.batch_size, settings.device_batch_size * world)
    if rest:
        raise LapeError(
            f"batch_size: {settings.batch_size} is no multiple of {settings.device_batch_size} examples on each of "
            f"{world} devices; change one of them"
        )
    arguments.gradient_accumulation_steps = steps
    return arguments


def finetune(
    model: PreTrainedModel,
    examples: Encoded,
    settings: FineTuning,
    arguments: TrainingArguments,
    identity: dict,
    description: str,
) -> tuple[dict[str, Tensor], list[float]]:
    """Train a model in place, from the newest checkpoint of the same training if there is one.

    Args:
        model: a model with float32 weights.
        examples: the examples to train on.
        settings: settings of the training.
        arguments: the settings as `training_arguments` returns them.
        identity: everything that shapes the result. Checkpoints of a training of another identity are deleted.
        description: text of the progress bar. The matrices of `keep_steps` are in the folder of the checkpoints, in
            the files that `kept` names.

    Returns:
        matrix -> float32 weights on the CPU, for the matrices of `weight_matrices`; and the loss before each step, the
        mean over the answers' tokens in nats. Under a launcher the weights are complete on the first rank, which is to
        write them.

    Raises:
        LapeError: the launcher renames matrices, or the training has no more steps than one of `keep_steps`.
    """
    names = weight_matrices(model)
    newest = _newest_checkpoint(Path(arguments.output_dir), identity, settings.keep_steps)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.requires_grad_(not settings.freeze_embeddings)
    trainer = _AnswerTrainer(
        model, arguments, precision=settings.precision, data_collator=collate, train_dataset=examples
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Bar(description))
    trainer.add_callback(_Keeper())

    def matrices() -> dict[str, Tensor]:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        missing = [name for name in names if name not in weights]
        if missing and arguments.process_index == 0:
            raise LapeError(f"fine-tuning: the launcher renames {missing[0]}; use FSDP version 2")
        return {name: weights[name].detach().to("cpu", torch.float32) for name in names if name in weights}

    trainer.add_callback(_Snapshots(settings.keep_steps, matrices))
    trainer.train(resume_from_checkpoint=newest)
    return matrices(), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def kept(checkpoints: str | Path, step: int) -> Path:
    """The file in the folder of the checkpoints that has the matrices after a number of steps."""
    return Path(checkpoints, f"after-{step}.safetensors")


class _AnswerTrainer(Trainer):
    """A Trainer that computes logits only where the loss reads them, and holds few of them in float32 at once.

    The logits of a batch take the most memory, and with a large vocabulary the LM head takes the most time.
    """

    def __init__(self, *arguments, precision: str, **keywords):
        super().__init__(*arguments, compute_loss_func=_answer_loss, **keywords)
        # The Trainer's own autocast would return the logits in float32.
        self._autocast = torch.autocast(self.args.device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def compute_loss(self, model, inputs, *arguments, **keywords):
        head = self.accelerator.unwrap_model(model).get_output_embeddings()
        with self._autocast, _rows_of(head, inputs["labels"][:, 1:] != IGNORED):
            return super().compute_loss(model, inputs, *arguments, **keywords)


@contextlib.contextmanager
def _rows_of(head: nn.Module, predicting: Tensor) -> Iterator[None]:
    """During the block, the LM head sees only the hidden states that predict the tokens marked in [B, T - 1].

    Of the hidden states [B, T, H] it gets [tokens, H].
    """
    handle = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][:, :-1][predicting],))
    try:
        yield
    finally:
        handle.remove()


def _answer_loss(outputs, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
    """NLL summed over this pass, divided by the number of tokens in all passes of the step: all tokens weigh alike."""
    targets = labels[:, 1:]
    parts = zip(outputs.logits.split(_ROWS), targets[targets != IGNORED].split(_ROWS), strict=True)
    return sum(checkpoint(_nll, *part, use_reentrant=False) for part in parts) / num_items_in_batch


def _nll(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


class _Bar(TrainerCallback):
    """Show the progress of the training, on the first rank."""

    def __init__(self, description: str):
        self._description, self._bar = description, None

    def on_train_begin(self, args, state, control, **keywords):
        if state.is_world_process_zero:
            self._bar = progress(state.max_steps, self._description, "step")
            self._bar.update(state.global_step)

    def on_step_end(self, args, state, control, **keywords):
        if self._bar is not None:
            self._bar.update(1)

    def on_train_end(self, args, state, control, **keywords):
        if self._bar is not None:
            self._bar.close()


class _Keeper(TrainerCallback):
    """Mark a checkpoint as whole once every rank has written its part, and delete the checkpoint before it."""

    def on_save(self, args, state, control, **keywords):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            newest = Path(args.output_dir, f"checkpoint-{state.global_step}")
            os.sync()  # all parts must be on the disk before the mark says so
            (newest / _WHOLE).touch()
            _remove_checkpoints(newest.parent, but=newest)


class _Snapshots(TrainerCallback):
    """Keep the matrices after some steps, beside the checkpoints. All ranks gather them and the first one writes."""

    def __init__(self, steps: Sequence[int], matrices: Callable[[], dict[str, Tensor]]):
        self._steps, self._matrices = steps, matrices

    def on_train_begin(self, args, state, control, **keywords):
        if self._steps and max(self._steps) >= state.max_steps:
            raise LapeError(
                f"keep_steps: {max(self._steps)} is not below the {state.max_steps} steps of the training; lower "
                "experiments.pv_learning_curve.steps"
            )

    def on_step_end(self, args, state, control, **keywords):
        if state.global_step not in self._steps:
            return
        found = self._matrices()
        if state.is_world_process_zero:
            with writing(kept(args.output_dir, state.global_step)) as temporary:
                save_file(found, temporary)


def _newest_checkpoint(folder: Path, identity: dict, keep: Sequence[int]) -> str | None:
    """The newest whole checkpoint of a training of the same identity. Other checkpoints are deleted.

    A checkpoint is of no use where matrices that were to be kept before it are gone.
    """
    ranks = PartialState()
    if ranks.is_main_process:
        try:
            same = read_json(folder / _IDENTITY) == identity
        except LapeError:
            same = False
        whole = max(folder.glob(f"checkpoint-*/{_WHOLE}"), key=lambda file: _step(file.parent), default=None)
        if whole:
            same &= all(kept(folder, step).exists() for step in keep if step <= _step(whole.parent))
        _remove_checkpoints(folder, but=whole.parent if whole and same else None)
        write_json(folder / _IDENTITY, identity)
    ranks.wait_for_everyone()
    left = list(folder.glob(f"checkpoint-*/{_WHOLE}"))
    return str(left[0].parent) if left else None


def _remove_checkpoints(folder: Path, but: Path | None) -> None:
    for path in folder.glob("checkpoint-*"):
        if path != but:
            shutil.rmtree(path)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
