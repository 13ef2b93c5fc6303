"""Questions answered in English once a language's neurons are off, and in that language once they are on.

LAPE finds the neurons of a small model on text of three languages. Then the first questions of config/questions are
asked; none is chosen for its answer. The first one is printed, and the answers to all are counted by their language.
"""

import argparse
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from lape.commands.arguments import positive

# Languages of config/questions in which the small model answers.
LANGUAGES = {"fr": "French", "es": "Spanish", "id": "Indonesian", "ja": "Japanese", "vi": "Vietnamese", "zh": "Chinese"}
_NEXT = """What next?
  make run                   the neurons of seven languages, and what each language loses without them
  lape run MODEL --languages fr,de,sw --text FOLDER      your own model and text
  examples/quickstart.ipynb  the same in a notebook"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", choices=LANGUAGES, default="fr", help="whose neurons are switched off and on")
    parser.add_argument("--questions", type=positive(int), default=8, help="asked in English, and in the language")
    parser.add_argument("--tokens", type=positive(int), default=4096, help="of text, counted per language")
    parser.add_argument("--max-new-tokens", type=positive(int), default=24, help="tokens of an answer, at most")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of the model")


def run(arguments: argparse.Namespace) -> None:
    from lape.embedded.model import example_model
    from lape.generation.asking import answers
    from lape.interventions.perturbation import deactivate
    from lape.interventions.steering import steering_values
    from lape.interventions.switching import steer
    from lape.neurons.controls import activity_matched_control

    code, name = arguments.language, LANGUAGES[arguments.language]
    model, tokenizer = example_model(dtype=arguments.dtype)
    neurons, statistics = _found(model, tokenizer, arguments)
    values = steering_values(neurons, statistics)
    questions = {language: _questions(language, arguments.questions) for language in (code, "en")}
    print(f"{neurons.counts()[code]} of the model's {neurons.sites.neurons:,} neurons are {name}.", flush=True)
    control = activity_matched_control(neurons, statistics, seed=0)

    def ask(language: str) -> list[str]:
        return answers(model, tokenizer, questions[language], max_tokens=arguments.max_new_tokens)

    own = {"as it is": ask(code)}
    with deactivate(model, neurons, code):
        own[f"{name} off"] = ask(code)
    with deactivate(model, control, code):
        own["others off"] = ask(code)
    english = {"as it is": ask("en")}
    with steer(model, values, code):
        english[f"{name} on"] = ask("en")
    _show(questions[code], own, name)
    _show(questions["en"], english, "English")
    print(f"others: as many neurons of the same layers that fire as often and as strongly in {name}.\n\n{_NEXT}")


def _found(model, tokenizer, arguments: argparse.Namespace) -> tuple:
    """The neurons of three languages, and the statistics that they were selected by."""
    from lape.embedded.texts import example_texts
    from lape.neurons.selection import select_lape
    from lape.statistics.feeding import record_statistics

    statistics = {}
    for code in ("en", arguments.language, "zh" if arguments.language != "zh" else "fr"):
        name = LANGUAGES.get(code, "English")
        print(f"Counting how often each neuron fires in {arguments.tokens:,} tokens of {name} text", flush=True)
        statistics[code] = record_statistics(model, example_texts(code), tokenizer, tokens=arguments.tokens)
    return select_lape(statistics), statistics


def _questions(language: str, number: int) -> list[str]:
    from lape.artifacts.shipped import default_config, repository
    from lape.text.questions import read_questions
    from lape.text.reading import Reading

    pattern = str(repository() / default_config()["questions"]["pattern"])
    return list(read_questions(language, Reading(), pattern=pattern).values())[:number]


def _show(questions: Sequence[str], answers: Mapping[str, Sequence[str]], name: str) -> None:
    """The answers to the first question, and the languages of the answers to all, by condition."""
    from lape.text.identification import identify

    width = max(map(len, answers))
    print(f"\n{questions[0]}")
    for condition, given in answers.items():
        text = f"  {condition:<{width}}  {' '.join(given[0].split()) or '(nothing)'}"
        print(textwrap.fill(text, 100, subsequent_indent=" " * (width + 4)))
    print(f"All {len(questions)} questions in {name} are answered in")
    for condition, given in answers.items():
        counts = Counter(identify(answer)["langdetect"] for answer in given)
        print(f"  {condition:<{width}}  {', '.join(f'{code}: {number}' for code, number in counts.most_common())}")
