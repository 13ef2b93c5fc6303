"""Answers to the questions of every language under one setting: normal, deactivated, steered or cross-lingual."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import checked, read_json, write_header
from lape.commands.arguments import json_object, positive, strings
from lape.errors import LapeError

logger = logging.getLogger(__name__)
PARAMETERS = ("template", "suffixes", "chat", "stop", "max_new_tokens", "repetition_penalty", "batch_size", "threads")
PARAMETERS += ("backend",)


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
    parser.add_argument("--stop", type=strings, default=[], help="strings that end an answer (JSON)")
    parser.add_argument("--max-new-tokens", type=positive(int), required=True, help="an answer is cut there")
    parser.add_argument("--repetition-penalty", type=positive(float), default=1.1)
    parser.add_argument(
        "--batch-size", type=positive(int), default=8, help="questions a pass, filled to a multiple of 8"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    parser.add_argument("--backend", choices=["extension", "reference"], default="extension")
    parser.add_argument("--output", type=Path, required=True, help="SETTING.jsonl; SETTING.json beside it")


def run(arguments: argparse.Namespace) -> None:
    import dataclasses

    import torch

    from lape.generation.parts import AnswerParts, answer_row, check_context
    from lape.generation.prompts import Template, chat_tokenizer
    from lape.generation.settings import Dose, Setting
    from lape.interventions.steering import setting_perturbation
    from lape.kernels import ops
    from lape.machine.allocator import keep_freed_memory
    from lape.machine.memory import Halving
    from lape.machine.progress import progress
    from lape.model.architectures import ffn_entry
    from lape.model.ffn import input_device
    from lape.model.loading import load_model, location
    from lape.model.tokenizer import load_tokenizer
    from lape.text.questions import aligned, load_questions

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
    for (language, _), asked in ids.items():
        remedy = "lower generation.max_new_tokens or leave the question out (questions.skip)"
        longest, context = max(map(len, asked)), description["context_length"]
        check_context(f"a question in {language}", longest, arguments.max_new_tokens, context, remedy)
    model, _ = load_model(arguments.model)

    parameters = {name: getattr(arguments, name) for name in PARAMETERS}
    dose = None if setting.dose is None else dataclasses.asdict(setting.dose)
    device = str(input_device(model))
    kept = AnswerParts(
        arguments.output,
        inputs,
        ["lape.commands.generate"],
        ffn=ffn_entry(description["model_type"]),
        setting=arguments.setting,
        dose=dose,
        parameters=parameters,
        device=device,
    )
    label = f"answers {description['name']} {arguments.setting}"
    hooks = []
    with progress(sum(len(questions[language]) for language, _ in parts), label, "answer") as bar:
        halving = Halving(arguments.batch_size, label, bar)
        for language, target in parts:
            name, asked = f"{language}-{target}", questions[language]
            hook = kept.kept(name)
            if hook is not None:
                bar.update(len(asked))
            else:
                perturbation = setting_perturbation(setting, language, target, neurons, values)
                try:
                    asking = model, tokenizer, ids[language, target], perturbation, arguments
                    answers, fired = _ask(*asking, halving, bar.update)
                except LapeError as error:
                    raise LapeError(f"{label}, {language} to {target}: {error}") from error
                given = zip(asked.items(), prompts[language, target], answers, strict=True)
                rows = [answer_row(language, target, *question, prompt, answer) for question, prompt, answer in given]
                hook = {"language": language, "target": target, **fired}
                kept.keep(name, rows, hook)
            hooks.append(hook)
    _check_changes(label, setting, hooks)
    rows = kept.join()
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
        rows=rows,
        hooks=hooks if setting.method else [],
        batch_size=min(hook["batch_size"] for hook in hooks),
        device=device,
        backend=ops.active_backend(device, arguments.backend),
        dtype=description["dtype"],
        parameters=parameters,
        inputs=inputs,
        outputs=[arguments.output],
    )
    kept.remove()
    logger.info("%s: %d answers", label, sum(len(questions[language]) for language, _ in parts))


def _perturbing(arguments: argparse.Namespace, setting, description: dict):
    """The neurons and the steering values that a setting needs, and the files that they were read from."""
    from lape.generation.parts import check_options
    from lape.interventions.steering import SteeringValues
    from lape.model.loading import check_found_on
    from lape.neurons.table import Neurons

    options = {"--neurons": (arguments.neurons, setting.method is not None)}
    check_options(arguments.setting, {**options, "--values": (arguments.values, setting.dose is not None)})
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


def _ask(model, tokenizer, ids: list[list[int]], perturbation, arguments, halving, on_answers):
    """Answers to the prompts of a part, and the record of what fired, once it proves that every hook did."""
    from functools import partial

    from lape.generation.decoding import greedy_answers
    from lape.generation.parts import proven_answers
    from lape.interventions.perturbation import perturbed

    def answer(batch_size, on_batch):
        return greedy_answers(
            model,
            tokenizer,
            ids,
            max_new_tokens=arguments.max_new_tokens,
            stop=arguments.stop,
            repetition_penalty=arguments.repetition_penalty,
            batch_size=batch_size,
            on_batch=on_batch,
        )

    settings = {"prompt_length": max(map(len, ids)), "backend": arguments.backend}
    perturbing = partial(perturbed, model, perturbation, **settings)
    return proven_answers(perturbing, answer, halving, on_answers, must_change=False)
