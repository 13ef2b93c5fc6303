"""Answers to the questions of every language under one setting: normal, deactivated, steered or cross-lingual."""

import argparse
from pathlib import Path

from lape.artifacts.files import read_json
from lape.commands.arguments import add_backend, json_object, positive, strings
from lape.errors import LapeError

PARAMETERS = ("template", "suffixes", "chat", "chat_arguments", "stop", "max_new_tokens", "repetition_penalty")
PARAMETERS += ("batch_size", "threads", "backend")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json")
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="header of every language's questions")
    parser.add_argument(
        "--setting", required=True, metavar="NAME", help="normal, deactivated-fr, steered, cross-es, ..."
    )
    parser.add_argument("--neurons", type=Path, help="header of the neurons (the control's, for a random setting)")
    parser.add_argument("--values", type=Path, help="header of the steering values, where the setting steers")
    parser.add_argument("--directions", type=Path, help="header of the directions, for a setting diffmean")
    parser.add_argument(
        "--dose", default="set-all-1-1", help="mode-positions-strength-share, where the setting's name holds no dose"
    )
    parser.add_argument("--template", required=True, help="prompt with {question} and {suffix}")
    parser.add_argument("--suffixes", type=json_object, help="request to answer in a language, per language (JSON)")
    parser.add_argument(
        "--chat", action="store_true", help="the prompt is the user's turn of the model's chat template"
    )
    parser.add_argument(
        "--chat-arguments", type=json_object, default={}, help="further arguments of the chat template (JSON)"
    )
    parser.add_argument("--stop", type=strings, default=[], help="strings that end an answer (JSON)")
    parser.add_argument("--max-new-tokens", type=positive(int), required=True, help="tokens of an answer, at most")
    parser.add_argument(
        "--repetition-penalty",
        type=positive(float),
        default=1.1,
        help="penalty of tokens that the prompt or the answer has; 1 is none",
    )
    parser.add_argument(
        "--batch-size", type=positive(int), default=8, help="questions per pass, filled to a multiple of 8"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument("--output", type=Path, required=True, help="SETTING.jsonl; SETTING.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.generation.conditions import QuestionCondition
    from lape.generation.pipeline import GREEDY, Wanted, greedy, write_answers
    from lape.generation.prompts import Template, chat_tokenizer
    from lape.generation.settings import Setting
    from lape.interventions.dose import Dose
    from lape.model.loading import location
    from lape.model.tokenizer import load_tokenizer
    from lape.text.questions import aligned, load_questions

    setting = Setting.parse(arguments.setting, Dose.parse(arguments.dose))
    aligned(arguments.questions)
    questions = {read_json(path, "questions")["language"]: load_questions(path) for path in arguments.questions}
    pairs = setting.pairs(list(questions))
    description = read_json(arguments.model, "model")
    given = {name: getattr(arguments, name) for name in ("neurons", "values", "directions")}
    condition = QuestionCondition.load(arguments.setting, setting, description, **given)
    tokenizer_path = arguments.model.with_name("tokenizer.json")
    tokenizer, chat = load_tokenizer(tokenizer_path), None
    if arguments.chat:
        chat = chat_tokenizer(*location(arguments.model, description), description["parameters"]["trust_remote_code"])
    if setting.kind == "prompted" and arguments.suffixes is None:
        raise LapeError(f"setting {arguments.setting}: --suffixes is missing; pass the request for each language")
    template = Template(arguments.template, arguments.suffixes, chat, arguments.chat_arguments)
    wanted = []
    for language, target in pairs:
        for number, question in questions[language].items():
            prompt = template.prompt(question, target)
            wanted.append(Wanted(target, number, template.encode(tokenizer, prompt), language, question, prompt))

    write_answers(
        arguments.output,
        arguments.model,
        condition,
        wanted,
        greedy(tokenizer, **{name: getattr(arguments, name) for name in GREEDY}),
        label=f"answers {description['name']} {arguments.setting}",
        prompt="plain" if arguments.suffixes is None or setting.kind == "prompted" else "suffix",
        languages=list(questions),
        parameters={name: getattr(arguments, name) for name in PARAMETERS},
        inputs=[
            *(arguments.model, tokenizer_path, *arguments.questions),
            *(path.with_suffix(".jsonl") for path in arguments.questions),
        ],
        code=["lape.commands.generate"],
        remedy="lower generation.max_new_tokens or leave the question out (questions.skip)",
    )
