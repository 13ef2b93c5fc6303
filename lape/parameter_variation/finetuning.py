"""Fine-tuning of one copy of a model on the instructions of one language, for parameter variation (section 3.1 (d)).

Full fine-tuning with transformers' Trainer, on the answers alone. Weights, gradients and AdamW's two moments are
float32, 16 bytes a parameter, whatever dtype the model has otherwise: a step of 1e-5 on a weight of 0.03 is a twelfth
of the distance between neighbouring bfloat16 numbers there, and rounding would undo every one. Only the matrix
products run in bfloat16, by autocast. Under `accelerate launch` with a configuration of FSDP the ranks share all this.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from lape.artifacts.files import read_json, write_json
from lape.errors import LapeError
from lape.machine.progress import progress
from lape.model.ffn import find_ffn

# Stanford Alpaca's prompts without the sentence before them, which would put English into every language's training.
PROMPT = "### Instruction:\n{instruction}\n\n### Response:\n"
PROMPT_WITH_INPUT = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
IGNORED = -100  # the label of a position that is not in the loss
# Files of a checkpoint, and of the folder of all checkpoints.
_WHOLE, _IDENTITY = "whole", "identity.json"
_ROWS = 32  # rows of logits that are float32 at once


@dataclass(frozen=True)
class FineTuning:
    """Settings of a training; the defaults are the paper's, where it names them.

    Attributes:
        epochs: passes over the examples.
        batch_size: examples of a step, over all devices.
        device_batch_size: examples of a forward pass on one device; gradients add up until batch_size is reached.
        learning_rate: constant, without warm-up.
        optimizer: transformers' name of it; adamw_torch needs more memory, as it makes several passes.
        seed: of the order of the examples, and of dropout where the model has any.
        precision: of the matrix products; "bfloat16" (autocast) or "float32".
        gradient_checkpointing: compute activations anew in the backward pass, to save memory.
        freeze_embeddings: train neither token embeddings nor LM head, in which PV selects nothing. In a small model
            with a large vocabulary they are most of the memory and a third of the time.
        checkpoint_steps: steps between checkpoints; 0 for no checkpoint.
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


@dataclass(frozen=True)
class Encoded:
    """Examples as token ids.

    Attributes:
        ids: of every example: BOS where there is one, the prompt, the answer, EOS.
        prompts: length of every example's prompt, BOS included.
        truncated: examples that were longer than the maximum.
        dropped: examples of whose answer nothing was left.
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
        """Tokens that an epoch trains on, EOS included."""
        return sum(map(len, self.ids)) - sum(self.prompts)

    def counts(self) -> dict[str, int]:
        """What the header of a finetuned artifact says of the examples."""
        counts = {"examples": len(self), "examples_truncated": self.truncated, "examples_dropped": self.dropped}
        return counts | {"answer_tokens": self.answer_tokens}


def read_instructions(path: str | Path) -> list[dict[str, str]]:
    """Read examples from JSON lines with the keys instruction, input (may be empty) and output.

    Raises:
        LapeError: the file cannot be read, a line is not such an example, or there is none.
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

    Prompt and answer are tokenised each by itself, so that where the answer starts is certain.

    Args:
        examples: see `read_instructions`.
        tokenizer: of the model.
        bos: id of the token that comes first, None for none.
        eos: id of the token that ends an answer; the cut takes it first.
        max_length: tokens of an example at most.

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
    """A batch of examples, padded at the right to the longest; padding and prompts are not in the loss."""
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

    These are the parameters of two and more dimensions inside the decoder layers: no embedding, no norm, no bias, no
    LM head.
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
    """The settings in the Trainer's form. To be made before the model is loaded, as this joins the ranks of a launcher.

    Args:
        settings: of the training.
        folder: where checkpoints go.
        cpu: leave GPUs alone.

    Raises:
        LapeError: a setting that the Trainer or the device does not take, or sizes of batches that do not divide.
    """
    # Later versions of transformers renamed this setting.
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
        line = str(error).strip().splitlines()[0]
        raise LapeError(f"fine-tuning: the Trainer refuses the settings ({line}); mend them") from error
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
        model: with float32 weights.
        examples: what it is trained on.
        settings: of the training.
        arguments: what `training_arguments` made of them.
        identity: everything that shapes the result; checkpoints of another one are deleted.
        description: what the progress bar says.

    Returns:
        matrix -> float32 weights on the CPU, of `weight_matrices` (complete on the first rank of a launcher, which is
        the one to write them); and the loss of each step, mean over the answers' tokens in nats, before the step.
    """
    names = weight_matrices(model)
    newest = _newest_checkpoint(Path(arguments.output_dir), identity)
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.requires_grad_(not settings.freeze_embeddings)
    trainer = _AnswerTrainer(
        model, arguments, precision=settings.precision, data_collator=collate, train_dataset=examples
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Bar(description))
    trainer.add_callback(_Keeper())
    trainer.train(resume_from_checkpoint=newest)
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    missing = [name for name in names if name not in weights]
    if missing and arguments.process_index == 0:
        raise LapeError(f"fine-tuning: the launcher renames {missing[0]}; use FSDP version 2")
    matrices = {name: weights[name].detach().to("cpu", torch.float32) for name in names if name in weights}
    return matrices, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


class _AnswerTrainer(Trainer):
    """A Trainer that computes logits only where the loss reads them, and widens few of them to float32 at once.

    The logits of a batch are the largest thing in memory, and with a large vocabulary the LM head is the longest step.
    """

    def __init__(self, *arguments, precision: str, **keywords):
        super().__init__(*arguments, compute_loss_func=_answer_loss, **keywords)
        # The Trainer's own autocast would return float32 logits.
        self._autocast = torch.autocast(self.args.device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def compute_loss(self, model, inputs, *arguments, **keywords):
        head = self.accelerator.unwrap_model(model).get_output_embeddings()
        with self._autocast, _rows_of(head, inputs["labels"][:, 1:] != IGNORED):
            return super().compute_loss(model, inputs, *arguments, **keywords)


@contextlib.contextmanager
def _rows_of(head: nn.Module, predicting: Tensor) -> Iterator[None]:
    """The LM head sees only the hidden states [B, T, H] before the tokens marked in [B, T - 1], as [tokens, H]."""
    handle = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][:, :-1][predicting],))
    try:
        yield
    finally:
        handle.remove()


def _answer_loss(outputs, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
    """Sum of this pass's NLL over the number of tokens in all passes of the step, so that all tokens weigh alike."""
    targets = labels[:, 1:]
    parts = zip(outputs.logits.split(_ROWS), targets[targets != IGNORED].split(_ROWS), strict=True)
    return sum(checkpoint(_nll, *part, use_reentrant=False) for part in parts) / num_items_in_batch


def _nll(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


class _Bar(TrainerCallback):
    """Shows the progress of the training, on the first rank."""

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
    """Marks a checkpoint as whole once every rank has written its part; then the one before it can go."""

    def on_save(self, args, state, control, **keywords):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            newest = Path(args.output_dir, f"checkpoint-{state.global_step}")
            os.sync()  # after a crash, a checkpoint that is marked must be whole
            (newest / _WHOLE).touch()
            _remove_checkpoints(newest.parent, but=newest)


def _newest_checkpoint(folder: Path, identity: dict) -> str | None:
    """The newest whole checkpoint that a training of the same identity left; what cannot be used is deleted."""
    ranks = PartialState()
    if ranks.is_main_process:
        try:
            same = read_json(folder / _IDENTITY) == identity
        except LapeError:
            same = False
        whole = max(folder.glob(f"checkpoint-*/{_WHOLE}"), key=lambda file: _step(file.parent), default=None)
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
