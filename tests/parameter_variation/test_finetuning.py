"""Fine-tuning: what is trained on, what a step does, and that a killed training goes on as if nothing had happened."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stages import check_refusal
from tiny_data import make_model, make_text
from tokenizers import Tokenizer

from lape.artifacts.files import read_json, sha256, write_header
from lape.commands.finetune import _keep_one_gpu
from lape.errors import LapeError
from lape.parameter_variation import finetuning
from lape.parameter_variation.finetuning import (
    FineTuning,
    collate,
    encode,
    finetune,
    read_instructions,
    training_arguments,
)

PROJECTIONS = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
MATRICES = [f"model.layers.{layer}.{name}.weight" for layer in range(3) for name in PROJECTIONS]


def write_instructions(number: int = 8) -> None:
    """fr.jsonl and its header in the working directory; every other example has an input."""
    with open("fr.jsonl", "w", encoding="utf-8") as file:
        for seed in range(number):
            example = {
                "instruction": make_text("fr", 4, seed),
                "input": make_text("fr", 3, 100 + seed) if seed % 2 else "",
                "output": make_text("fr", 2 + seed, 200 + seed),
            }
            file.write(json.dumps(example, ensure_ascii=False) + "\n")
    write_header("fr.json", "instructions", language="fr", parameters={}, inputs=[], outputs=["fr.jsonl"])


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_folder, lape) -> Path:
    """A model artifact and instructions; the working directory."""
    monkeypatch.chdir(tmp_path)
    words = "model --name tiny --device cpu --dtype float32 --output model.json --path"
    status, messages = lape(*words.split(), tiny_folder)
    assert status == 0, messages
    write_instructions()
    return tmp_path


COMMAND = "finetune --model model.json --instructions fr.json --max-length 120 --learning-rate 0.001"


def command(output: str, **options) -> list[str]:
    """A command line of 3 epochs of 4 steps."""
    options = {"epochs": 3, "batch_size": 2, "device_batch_size": 2} | options
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", *str(value).split())]
    return [*COMMAND.split(), *words, "--output", output]


@pytest.fixture
def encoded(folder):
    tokenizer = Tokenizer.from_file("tokenizer.json")
    return encode(read_instructions("fr.jsonl"), tokenizer, bos=0, eos=1, max_length=120)


def test_only_the_answers_and_their_ends_are_trained_on(encoded):
    tokenizer = Tokenizer.from_file("tokenizer.json")
    examples = read_instructions("fr.jsonl")
    batch = collate([encoded[number] for number in range(8)])
    for example, ids, mask, labels in zip(
        examples, batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True
    ):
        trained = labels != -100
        assert torch.equal(ids[trained], labels[trained])
        assert tokenizer.decode(labels[trained].tolist(), skip_special_tokens=False) == example["output"] + "</s>"
        prompt = tokenizer.decode(ids[mask.bool() & ~trained].tolist(), skip_special_tokens=False)
        with_input = f"\n\n### Input:\n{example['input']}" if example["input"] else ""
        assert prompt == f"<s>### Instruction:\n{example['instruction']}{with_input}\n\n### Response:\n"
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)  # padding at the right
    assert batch["input_ids"].shape[1] == max(map(len, encoded.ids))
    assert encoded.answer_tokens == int((batch["labels"] != -100).sum())


def test_long_examples_are_cut_and_those_without_an_answer_left_out(folder, encoded):
    longest = max(map(len, encoded.ids))
    shortest, *_ = sorted(encoded.prompts)
    tokenizer = Tokenizer.from_file("tokenizer.json")
    texts = read_instructions("fr.jsonl")
    whole = encode(texts, tokenizer, bos=0, eos=1, max_length=longest)
    assert (whole.truncated, whole.dropped) == (0, 0) and whole.ids == encoded.ids
    less = encode(texts, tokenizer, bos=0, eos=1, max_length=longest - 1)
    assert less.truncated == sum(len(ids) == longest for ids in encoded.ids) and less.dropped == 0
    assert less.ids == [ids[: longest - 1] for ids in encoded.ids]
    few = encode(texts, tokenizer, bos=0, eos=1, max_length=shortest + 1)
    assert len(few) == sum(length == shortest for length in encoded.prompts) and few.dropped == 8 - len(few)
    with pytest.raises(LapeError, match="raise the maximum length"):
        encode(texts, tokenizer, bos=0, eos=1, max_length=shortest)


def plain_training(model, encoded, epochs: int, frozen: bool) -> list[float]:
    """All examples at once, one by one through the model, AdamW by hand."""
    trained = [w for name, w in model.named_parameters() if not frozen or name.split(".")[-2] not in FROZEN]
    moments = [(torch.zeros_like(weights), torch.zeros_like(weights)) for weights in trained]
    losses = []
    for step in range(1, epochs + 1):
        total = 0
        for ids, prompt in zip(encoded.ids, encoded.prompts, strict=True):
            logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            total = total - sum(logs[place - 1, ids[place]] for place in range(prompt, len(ids)))
        loss = total / encoded.answer_tokens
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, trained)
        norm = math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))
        with torch.no_grad():
            for weights, gradient, (first, second) in zip(trained, gradients, moments, strict=True):
                gradient = gradient / max(1, norm)  # the Trainer clips at 1
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient**2)
                weights -= 0.001 * first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return losses


FROZEN = ("embed_tokens", "lm_head")


@pytest.mark.parametrize(
    ("device_batch_size", "checkpointing", "frozen"), [(8, False, False), (2, False, False), (4, True, True)]
)
def test_a_training_is_its_definition(
    folder, encoded, tiny_folder, tiny_model, device_batch_size, checkpointing, frozen
):
    from transformers import AutoModelForCausalLM

    settings = FineTuning(
        epochs=3,
        batch_size=8,
        device_batch_size=device_batch_size,
        learning_rate=0.001,
        precision="float32",
        gradient_checkpointing=checkpointing,
        freeze_embeddings=frozen,
    )
    arguments = training_arguments(settings, "checkpoints", cpu=True)
    weights, losses = finetune(tiny_model, encoded, settings, arguments, {}, "test")
    by_hand = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    assert losses == pytest.approx(plain_training(by_hand, encoded, 3, frozen), rel=1e-5)
    assert list(weights) == MATRICES
    before = AutoModelForCausalLM.from_pretrained(tiny_folder)
    for name in MATRICES:
        change = by_hand.get_parameter(name) - before.get_parameter(name)
        # A gradient near zero has a random sign, and Adam's first steps know signs alone.
        assert torch.quantile((weights[name] - by_hand.get_parameter(name)).abs() / change.abs().mean(), 0.99) < 1e-2
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(tiny_model.get_parameter(name), before.get_parameter(name)) == frozen


def test_the_same_training_gives_the_same_bytes_and_another_seed_others(folder, lape):
    for output, seed in (("a", 0), ("b", 0), ("c", 1)):
        status, messages = lape(*command(f"{output}.safetensors", seed=seed))
        assert status == 0, messages
    assert sha256("a.safetensors") == sha256("b.safetensors") != sha256("c.safetensors")
    header = json.loads(Path("a.json").read_text())
    assert header["language"] == "fr" and header["steps"] == 12 and header["examples"] == 8
    assert len(header["loss"]["epochs"]) == 3 and header["loss"]["epochs"][2] < header["loss"]["epochs"][0]
    assert list(header["matrices"]) == MATRICES
    tensors = load_file("a.safetensors")
    assert {name: list(weights.shape) for name, weights in tensors.items()} == header["matrices"]
    assert all(weights.dtype == torch.float32 for weights in tensors.values())
    assert not Path("a.checkpoints").exists()


def test_a_training_starts_from_the_weights_in_the_artifacts_dtype(folder, tiny_folder, lape):
    words = "model --name tiny --device cpu --dtype bfloat16 --output model.json --path"
    assert lape(*words.split(), tiny_folder)[0] == 0
    assert lape(*command("still.safetensors", learning_rate=1e-30))[0] == 0
    checkpoint = load_file(tiny_folder / "model.safetensors")
    for name, weights in load_file("still.safetensors").items():
        assert torch.equal(weights, checkpoint[name].bfloat16().float())
        assert not torch.equal(weights, checkpoint[name])


@pytest.mark.parametrize(("device", "visible"), [("cuda:1", "1"), ("cuda", "0"), ("auto", "0")])
def test_a_training_sees_the_models_gpu_alone(monkeypatch, device, visible):
    monkeypatch.setattr(os, "environ", {})
    _keep_one_gpu(device)
    assert os.environ == {"CUDA_VISIBLE_DEVICES": visible}
    monkeypatch.setattr(os, "environ", {"CUDA_VISIBLE_DEVICES": "5,7"})
    _keep_one_gpu(device)
    assert os.environ == {"CUDA_VISIBLE_DEVICES": "7" if device == "cuda:1" else "5"}


def test_bfloat16_is_of_the_products_alone(folder, lape):
    for precision in ("float32", "bfloat16"):
        status, messages = lape(*command(f"{precision}.safetensors", precision=precision))
        assert status == 0, messages
    exact, rounded = load_file("float32.safetensors"), load_file("bfloat16.safetensors")
    name = MATRICES[4]
    assert not torch.equal(exact[name], rounded[name])
    # A weight that was rounded would be one of bfloat16's numbers.
    assert (rounded[name].bfloat16().float() != rounded[name]).float().mean() > 0.9


@pytest.fixture
def killed(folder, lape, monkeypatch):
    """A training that ended in its 7th step, after checkpoints at 3 and 6."""

    def kill(self, args, state, control, **keywords):
        if state.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetuning._Bar, "on_step_begin", kill, raising=False)
        status, _ = lape(*command("killed.safetensors", checkpoint_steps=3, keep_steps="4 8"))
    assert status == 130 and not Path("killed.safetensors").exists()
    status, messages = lape(*command("whole.safetensors"))
    assert status == 0, messages
    return Path("killed.checkpoints")


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """Numbers of the steps that are taken."""
    taken = []
    step = finetuning._Bar.on_step_end

    def note(self, args, state, control, **keywords):
        taken.append(state.global_step)
        step(self, args, state, control, **keywords)

    monkeypatch.setattr(finetuning._Bar, "on_step_end", note)
    return taken


def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(killed, lape, steps):
    assert [path.name for path in killed.glob("checkpoint-*")] == ["checkpoint-6"]
    steps.clear()
    shutil.copytree(killed / "checkpoint-6", killed / "checkpoint-9")
    (killed / "checkpoint-9" / finetuning._WHOLE).unlink()  # the kill came before all of it was written
    (killed / "checkpoint-9" / "optimizer.pt").write_bytes(b"")
    status, messages = lape(*command("killed.safetensors", checkpoint_steps=3, keep_steps="8 4"))
    assert status == 0, messages
    assert steps == list(range(7, 13))
    assert sha256("killed.safetensors") == sha256("whole.safetensors")
    # What is kept on the way is what a training of so many steps ends with. An epoch has four.
    status, messages = lape(*command("short.safetensors", epochs=1))
    assert status == 0, messages
    assert sha256("after-4/killed.safetensors") == sha256("short.safetensors") != sha256("after-8/killed.safetensors")
    assert [read_json(f"after-{step}/killed.json", "finetuned")["steps"] for step in (4, 8)] == [4, 8]
    headers = [json.loads(Path(f"{name}.json").read_text()) for name in ("killed", "whole")]
    assert headers[0]["loss"] == headers[1]["loss"] and headers[0]["steps"] == 12
    assert not killed.exists()


@pytest.mark.parametrize("change", ["learning_rate", "instructions", "model", "kept"])
def test_a_checkpoint_of_another_training_is_not_gone_on_with(killed, lape, steps, change):
    options = {}
    if change == "learning_rate":
        options = {"learning_rate": 0.1}
    elif change == "instructions":
        write_instructions(10)
    elif change == "kept":
        finetuning.kept(killed, 4).unlink()
    else:
        header = json.loads(Path("model.json").read_text())
        Path("model.json").write_text(json.dumps(header | {"name": "other"}))
    status, messages = lape(*command("killed.safetensors", checkpoint_steps=3, keep_steps="4", **options))
    assert status == 0, messages
    assert steps[0] == 1
    assert not killed.exists()


def test_two_ranks_train_as_one_process(folder, lape):
    status, messages = lape(*command("one.safetensors", batch_size=4, device_batch_size=4))
    assert status == 0, messages
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lape"]
    words = command("two.safetensors", batch_size=4, device_batch_size=2)
    done = subprocess.run([*launcher, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("two.json").read_text())["processes"] == 2
    one, two = load_file("one.safetensors"), load_file("two.safetensors")
    assert one.keys() == two.keys()
    for name in one:
        # The ranks draw the same batches; sums of gradients differ in their last bits.
        assert torch.quantile((one[name] - two[name]).abs(), 0.99) < 1e-5


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("no json", ["fr.jsonl line 9", "JSONDecodeError"]),
        ('{"instruction": "a", "output": "b"}', ["fr.jsonl line 9", "KeyError"]),
        ('["a"]', ["fr.jsonl line 9", "TypeError"]),
        ('{"instruction": "a", "input": "", "output": 3}', ["fr.jsonl line 9", "not all text"]),
        ('{"instruction": "a", "input": "", "output": " "}', ["fr.jsonl line 9", "empty"]),
    ],
)
def test_a_bad_example_is_named_by_its_line(folder, lape, line, names):
    with open("fr.jsonl", "a") as file:
        file.write(line + "\n")
    write_header("fr.json", "instructions", language="fr", parameters={}, inputs=[], outputs=["fr.jsonl"])
    check_refusal(*lape(*command("out.safetensors")), "finetune", *names)
    assert not Path("out.checkpoints").exists()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"batch_size": 3}, ["batch_size: 3", "2 examples"]),
        ({"max_length": 8}, ["no prompt is shorter than 8"]),
        ({"keep_steps": "4 12"}, ["keep_steps: 12", "the 12 steps", "pv_learning_curve.steps"]),
        ({"optimizer": "best"}, ["the Trainer refuses", "best"]),
        ({"instructions": "model.json"}, ["model.json", "instructions"]),
    ],
)
def test_finetune_refuses(folder, lape, options, names):
    words = command("out.safetensors", **options)
    check_refusal(*lape(*words), "finetune", *names)
    assert not Path("out.safetensors").exists()


def test_instructions_that_are_not_those_of_their_header_are_refused(folder, lape):
    Path("fr.jsonl").write_text("")
    check_refusal(*lape(*command("out.safetensors")), "finetune", "fr.jsonl")
    with pytest.raises(LapeError, match="holds no example"):
        read_instructions("fr.jsonl")


def test_quantised_weights_are_refused(folder, lape):
    header = json.loads(Path("model.json").read_text())
    header["parameters"]["quantization"] = "bitsandbytes-8bit"
    Path("model.json").write_text(json.dumps(header))
    check_refusal(*lape(*command("out.safetensors")), "finetune", "model.json", "quantised")


def test_tied_and_grouped_matrices_come_under_their_own_names(tmp_path):
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "model", tie_word_embeddings=True, num_key_value_heads=1, attention_bias=True)
    shapes = finetuning.weight_matrices(AutoModelForCausalLM.from_pretrained(folder))
    assert list(shapes) == MATRICES
    assert shapes[MATRICES[0]] == (16, 16) and shapes[MATRICES[1]] == (8, 16) and shapes[MATRICES[6]] == (16, 32)
