"""Answers to the questions of every language under one setting: normal, deactivated, steered or cross-lingual."""

import argparse
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from lape.artifact import checked, read_json, sha256, versions, write_header, writing
from lape.commands.corpus import json_object
from lape.errors import LapeError
from lape.generation.answers import counts
from lape.parts import code_hash, finished, mark_finished

logger = logging.getLogger(__name__)
# What decides on a token: an edit of these undoes the parts that an interrupted run kept.
CODE = ("commands.generate", "generation.decoding", "generation.answers", "generation.prompts", "generation.settings")
CODE += ("steering", "perturbation", "neurons", "tokenizer", "ffn", "fused", "probe", "ops", "reference", "model", "_C")
PARAMETERS = ("template", "suffixes", "chat", "stop", "max_new_tokens", "repetition_penalty", "batch_size", "threads")
PARAMETERS += ("backend",)


def _positive(number: type) -> Callable[[str], int | float]:
    def positive(text: str) -> int | float:
        if not number(text) > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number(text)

    return positive


def _strings(text: str) -> list[str]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise argparse.ArgumentTypeError(f"{text} is no JSON list of strings with a character or more")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="header of every language's questions")
    parser.add_argument(
        "--setting", required=True, metavar="NAME", help="normal, deactivated-fr, steered, cross-es, ..."
    )
    parser.add_argument("--neurons", type=Path, help="header of the neurons (the control's, for a random setting)")
    parser.add_argument("--values", type=Path, help="steering header of the same, where the setting steers")
    parser.add_argument("--dose", default="set-all-1-1", help="mode-positions-strength-share, unless the name tells")
    parser.add_argument("--template", required=True, help="prompt with {question} and {suffix}")
    parser.add_argument(
        "--suffixes", type=json_object, help="what asks for an answer in a language, by language (JSON)"
    )
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is the user's turn of the model's chat template"
    )
    parser.add_argument("--stop", type=_strings, default=[], help="strings that end an answer (JSON)")
    parser.add_argument("--max-new-tokens", type=_positive(int), required=True, help="an answer is cut there")
    parser.add_argument("--repetition-penalty", type=_positive(float), default=1.1)
    parser.add_argument(
        "--batch-size", type=_positive(int), default=8, help="questions a pass, filled to a multiple of 8"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--backend", choices=["extension", "reference"], default="extension")
    parser.add_argument("--output", type=Path, required=True, help="SETTING.jsonl; SETTING.json beside it")


def run(arguments: argparse.Namespace) -> None:
    import dataclasses

    import torch

    from lape import ops
    from lape.allocator import keep_freed_memory
    from lape.corpus.questions import aligned, load_questions
    from lape.ffn import input_device
    from lape.generation.prompts import Template, chat_tokenizer
    from lape.generation.settings import Dose, Setting
    from lape.model import load_model, location
    from lape.progress import progress
    from lape.steering import setting_perturbation
    from lape.tokenizer import load_tokenizer

    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    setting = Setting.parse(arguments.setting, Dose.parse(arguments.dose))
    aligned(arguments.questions)
    questions = {read_json(path, "questions")["language"]: load_questions(path) for path in arguments.questions}
    parts = setting.pairs(list(questions))
    description = read_json(arguments.model, "model")
    neurons, values, perturbing = _perturbing(arguments, setting, description)
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    inputs = [arguments.model, tokenizer_path, *arguments.questions, *perturbing]
    inputs += [path.with_suffix(".jsonl") for path in arguments.questions]
    tokenizer, chat = load_tokenizer(tokenizer_path), None
    if arguments.chat:
        chat = chat_tokenizer(*location(arguments.model, description), description["parameters"]["trust_remote_code"])
    template = Template(arguments.template, arguments.suffixes, chat)
    prompts = {
        (language, target): [template.prompt(question, target) for question in questions[language].values()]
        for language, target in parts
    }
    ids = {part: [template.encode(tokenizer, prompt) for prompt in asked] for part, asked in prompts.items()}
    _check_lengths(ids, arguments.max_new_tokens, description["context_length"])
    model, _ = load_model(arguments.model)

    parameters = {name: getattr(arguments, name) for name in PARAMETERS}
    dose = None if setting.dose is None else dataclasses.asdict(setting.dose)
    device = str(input_device(model))
    # A part of an earlier run is kept only if everything that shapes its answers is the same.
    identity = {
        "setting": arguments.setting,
        "dose": dose,
        "parameters": parameters,
        "inputs": {str(path): sha256(path) for path in inputs},
        "code": code_hash(CODE),
        "device": device,
        "versions": {package: versions()[package] for package in ("torch", "transformers", "tokenizers")},
    }
    label = f"answers {description['name']} {arguments.setting}"
    folder = arguments.output.with_suffix(".parts")
    files, hooks = [], []
    with progress(sum(len(questions[language]) for language, _ in parts), label, "answer") as bar:
        for language, target in parts:
            file = folder / f"{language}-{target}.jsonl"
            hook = finished(file, identity)
            if hook is not None:
                bar.update(len(questions[language]))
            else:
                perturbation = setting_perturbation(setting, language, target, neurons, values)
                try:
                    answers, firing = _ask(model, tokenizer, ids[language, target], perturbation, arguments, bar.update)
                except LapeError as error:
                    raise LapeError(f"{label}, {language} to {target}: {error}") from error
                _write_part(file, language, target, questions[language], prompts[language, target], answers)
                hook = {"language": language, "target": target, **_record(firing)}
                mark_finished(file, identity, hook)
            files.append(file)
            hooks.append(hook)
    _check_changes(label, setting, hooks)
    lines = b"".join(file.read_bytes() for file in files)
    with writing(arguments.output) as temporary:
        temporary.write_bytes(lines)
    write_header(
        arguments.output.with_suffix(".json"),
        "generations",
        model=description["name"],
        model_revision=description["revision"],
        prompt="plain" if arguments.suffixes is None else "suffix",
        setting=arguments.setting,
        kind=setting.kind,
        deactivated=setting.deactivated,
        activated=None if setting.dose is None else "target",
        method=setting.method,
        steering=None if dose is None else {**dose, "values": "mean activation"},
        languages=list(questions),
        rows=counts(map(json.loads, lines.strip().split(b"\n"))),
        hooks=hooks if setting.method else [],
        device=device,
        backend=ops.active_backend(device, arguments.backend),
        dtype=description["dtype"],
        parameters=parameters,
        inputs=inputs,
        outputs=[arguments.output],
    )
    shutil.rmtree(folder)
    logger.info("%s: %d answers", label, sum(len(questions[language]) for language, _ in parts))


def _check_lengths(ids: dict, new_tokens: int, context: int | None) -> None:
    """Refuse what would leave the model's context: position embeddings end there, or mean nothing behind it."""
    for (language, _), prompts in ids.items():
        longest = max(map(len, prompts))
        if context and longest + new_tokens > context:
            raise LapeError(
                f"a question in {language} takes {longest} tokens, with {new_tokens} of an answer more than the "
                f"context of {context}; lower generation.max_new_tokens or leave the question out (questions.skip)"
            )


def _perturbing(arguments: argparse.Namespace, setting, description: dict):
    """The neurons and the steering values that a setting needs, and the files that they were read from."""
    from lape.model import check_found_on
    from lape.neurons import Neurons
    from lape.steering import SteeringValues

    needed = {"--neurons": setting.method is not None, "--values": setting.dose is not None}
    for option, path in (("--neurons", arguments.neurons), ("--values", arguments.values)):
        if needed[option] != (path is not None):
            fault = "is missing; pass it" if needed[option] else "is not used; leave it out"
            raise LapeError(f"setting {arguments.setting}: {option} {fault}")
    neurons = Neurons.load(arguments.neurons) if arguments.neurons else None
    values = SteeringValues.load(arguments.values) if arguments.values else None
    headers = {path: read_json(path) for path in (arguments.neurons, arguments.values) if path}
    for path, header in headers.items():
        if header["method"] != setting.method:
            raise LapeError(f"{path}: of method {header['method']}; setting {arguments.setting} wants {setting.method}")
        check_found_on(description, path, header)
    return neurons, values, [*headers, *(checked(path, header, ".tsv") for path, header in headers.items())]


def _check_changes(label: str, setting, hooks: list[dict]) -> None:
    """Warn of languages without neurons, and refuse neurons that never fired, as those of a control may."""
    for hook in hooks if setting.method else ():
        if not hook["neurons"]:
            logger.warning("%s, %s to %s: no neuron is perturbed", label, hook["language"], hook["target"])
    perturbed = any(hook["neurons"] for hook in hooks)
    if setting.method == "lape" and perturbed and not any(hook["changed"] for hook in hooks):
        raise LapeError(f"{label}: the perturbation changed no activation; select neurons on this model and its text")


def _ask(model, tokenizer, ids: list[list[int]], perturbation, arguments, on_answers):
    """Answers to the prompts of a part, and the record of what fired, once it proves that every hook did."""
    from lape.generation.decoding import greedy_answers
    from lape.perturbation import perturbed

    fed = []

    def note(answered: int, tokens: int) -> None:
        fed.append(tokens)
        on_answers(answered)

    with perturbed(model, perturbation, prompt_length=max(map(len, ids)), backend=arguments.backend) as firing:
        given = greedy_answers(
            model,
            tokenizer,
            ids,
            max_new_tokens=arguments.max_new_tokens,
            stop=arguments.stop,
            repetition_penalty=arguments.repetition_penalty,
            batch_size=arguments.batch_size,
            on_batch=note,
        )
    firing.check(sum(fed), must_change=False)
    return given, firing


def _write_part(file: Path, language: str, target: str, questions: dict, prompts: list[str], answers: list) -> None:
    with writing(file) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        for (number, question), prompt, answer in zip(questions.items(), prompts, answers, strict=True):
            row = {
                "language": language,
                "target": target,
                "number": number,
                "question": question,
                "prompt": prompt,
                "output": answer.text,
                "tokens": answer.tokens,
                "finish_reason": answer.finish_reason,
            }
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _record(firing) -> dict:
    """What the hooks of a part did, over all layers; padding and the rows that fill a batch are fed and changed too."""
    return {
        "layers": len(firing.neurons),
        "neurons": sum(firing.neurons.values()),
        "fed": max(firing.rows.values(), default=0),
        "changed": sum(firing.changed.values()),
    }
