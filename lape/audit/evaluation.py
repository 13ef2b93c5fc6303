"""Checks of what running models gave: perplexity, answers, scores, ratings and embeddings."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_array, read_json
from lape.audit.inputs import inputs, tokenizer_of
from lape.evaluation import scores
from lape.evaluation.choices import ChoiceTemplate, accuracies, asked_of, correct, positions_read, size
from lape.evaluation.confusion import confusion
from lape.evaluation.judging.judge import judgements, read_judgements, summary
from lape.expert_units.selection import ExpertUnits
from lape.generation.answers import COPIED, KEYS, counts, read_answers, read_scores, split_thoughts, trimmed
from lape.generation.conditions import setting_perturbation
from lape.generation.settings import Setting, TextSetting
from lape.generation.text_conditions import text_perturbation
from lape.interventions.directions import Directions
from lape.interventions.dose import Dose
from lape.interventions.overwriting import UnitPerturbation
from lape.interventions.steering import SteeringValues
from lape.model.sites import Sites
from lape.neurons.controls import activity_matched_control
from lape.neurons.table import Neurons
from lape.parameter_variation.parameters import Parameters
from lape.statistics.sums import read_statistics
from lape.text.identification import identify
from lape.text.pairs import load_pairs
from lape.text.questions import load_questions
from lape.text.tasks import load_aligned


def check_perplexity(path: Path, header: dict) -> Iterator[str]:
    chunks = pd.read_csv(path.with_suffix(".tsv"), sep="\t", keep_default_na=False)
    if [row["evaluated"] for row in header["rows"]] != header["languages"]:
        yield "its row of the matrix is not complete: a language is missing"
    for row in header["rows"]:
        own = chunks[chunks["evaluated"] == row["evaluated"]]
        mean = own["nll"].sum() / own["tokens"].sum()
        bits = own["nll"].sum() / np.log(2) / own["bytes"].sum()
        same = np.allclose([mean, np.exp(mean), bits], [row["nll"], row["ppl"], row["bits_per_byte"]], rtol=1e-12)
        if not same or own["tokens"].sum() != row["tokens"]:
            yield f"its measures of {row['evaluated']} do not follow from its chunks"
    for source in inputs(header, "tokens"):
        language, sizes = read_json(source)["language"], read_array(source.with_suffix(".bytes.npy"))
        own = chunks[chunks["evaluated"] == language]
        predicted = read_array(source.with_suffix(".npy"), mmap=True).shape[1] - 1
        if not np.array_equal(own["bytes"], sizes) or not (own["tokens"] == predicted).all():
            yield f"its chunks of {language} are not those of {source}"
    yield from _check_deactivation(header)


def check_draws(path: Path, header: dict) -> Iterator[str]:
    """Check draws of a control: their measures, and that as many neurons as drawing again gives were deactivated."""
    chunks, language, parameters = (
        pd.read_csv(path.with_suffix(".tsv"), sep="\t"),
        header["language"],
        header["parameters"],
    )
    seeds = [*range(parameters["seed"], parameters["seed"] + parameters["draws"])]
    if [row["seed"] for row in header["rows"]] != seeds or list(chunks["seed"].unique()) != seeds:
        yield "its draws are not those of its seeds"
        return
    counted = read_statistics(inputs(header, "statistics"), header["model_revision"])
    for row in header["rows"]:
        own = chunks[chunks["seed"] == row["seed"]]
        if not np.isclose(own["nll"].sum() / own["tokens"].sum(), row["nll"], rtol=1e-12):
            yield f"its measure of seed {row['seed']} does not follow from its chunks"
        for source in inputs(header, "neurons"):
            again = activity_matched_control(
                Neurons.load(source), counted, row["seed"], parameters["nearest"], [language]
            )
            if row["neurons"] != again.counts()[language]:
                yield f"its hooks of seed {row['seed']} are on {row['neurons']} neurons, not on those of its draw"


def check_accuracy(path: Path, header: dict) -> Iterator[str]:
    """Check a row of accuracy: its choices are those of its questions, and its measures and its hooks follow."""
    table = pd.read_csv(path.with_suffix(".tsv"), sep="\t", keep_default_na=False)
    tasks = load_aligned(inputs(header, "task"))
    if list(tasks) != header["languages"] or [row["evaluated"] for row in header["rows"]] != header["languages"]:
        yield "its row of the matrix is not complete: a language is missing"
        return
    for language, row in zip(tasks, header["rows"], strict=True):
        own, questions = table[table["evaluated"] == language], tasks[language]
        wanted = [
            [each.id, place, int(place == each.answer), size(choice)]
            for each in questions
            for place, choice in enumerate(each.choices)
        ]
        if own[["id", "choice", "right", "bytes"]].to_numpy().tolist() != wanted:
            yield f"its choices of {language} are not those of its questions"
            continue
        measures = {"accuracy": float(correct(own, header["parameters"]["score"]).mean()), **accuracies(own)}
        if any(not np.isclose(row[name], value, rtol=1e-12) for name, value in measures.items()):
            yield f"its measures of {language} do not follow from its choices"
    template = ChoiceTemplate(header["parameters"]["template"])
    if header["read"] != positions_read(
        tokenizer_of(header), template, asked_of(tasks), header["batch_size"], header["prefix"], header["share_prompts"]
    ):
        yield f"it read {header['read']} tokens, not those of its questions"
    yield from _check_deactivation(header)


def _check_deactivation(header: dict) -> Iterator[str]:
    """Check that the whole set was deactivated, and that every hook fired."""
    hooks, language = header["hooks"], header["deactivated"]
    read = header.get("read", sum(read_json(path)["tokens"] for path in inputs(header, "tokens")))
    for source in inputs(header, "neurons"):
        neurons = Neurons.load(source)
        expected = neurons.counts()[language]
        if not hooks["neurons"] == sum(layer["neurons"] for layer in hooks["by_layer"]) == expected:
            yield f"its hooks are on {hooks['neurons']} neurons, not on those of its set"
        own = None if inputs(header, "expert_units") else neurons.indices(language)
        yield from _check_layers(hooks, read, neurons.sites, own, f"the neurons of {language}")
    for source in inputs(header, "parameters"):
        expected = Parameters.load(source).counts()[language]
        if hooks["parameters"] != expected or not hooks["nonzero"] <= expected:
            yield f"it zeroed {hooks['parameters']} parameters, its set has {expected}"
    for source in inputs(header, "directions"):
        layers, seen = Directions.load(source).of(language), [layer["tokens"] for layer in hooks["by_layer"]]
        if seen != [read] * len(layers):
            yield f"its projection did not see the {read} tokens that were read behind each of {len(layers)} layers"
    for source in inputs(header, "steering"):
        values, steered = SteeringValues.load(source), header["steered"]
        own = values.perturbation(steered, Dose.parse(header["dose"])).indices
        yield from _check_layers(hooks, read, values.sites, own, f"the neurons that steer towards {steered}")
    if language == "baseline" and hooks:
        yield "is the baseline and has hooks"


def _check_layers(
    hooks: dict, read: int, sites: Sites, own: Mapping[int, np.ndarray] | None, whose: str
) -> Iterator[str]:
    """Check that hooks are in the layers of their neurons (None: of other places), and that each saw all tokens."""
    hooked = Counter()
    for layer in hooks["by_layer"]:  # a layer may have several FFNs
        hooked[layer["layer"]] += layer["neurons"]
    if own is not None and hooked != {layer: len(index) for layer, index in own.items() if len(index)}:
        yield f"its hooks are on other layers than {whose}"
    if not all(layer["calls"] for layer in hooks["by_layer"]):
        yield "a hook never fired"
    mixtures = {site.layer for site in sites.sites if site.experts > 1}
    if any(layer["tokens"] != read for layer in hooks["by_layer"] if layer["layer"] not in mixtures):
        yield f"its hooks did not see the {read} tokens that were read"


def check_scores(path: Path, header: dict) -> Iterator[str]:
    table = read_scores(path.with_suffix(".tsv"))
    source = inputs(header, "generations")[0]
    origin, answers = read_answers(source)
    if any(header[name] != origin[name] for name in COPIED):
        yield f"has another setting, model or prompt than {source}"
    if table[list(KEYS)].to_dict("records") != [{key: answer[key] for key in KEYS} for answer in answers]:
        yield f"its rows are not the answers of {source}"
        return
    parameters = header["parameters"]
    if scores.summary(table, parameters["identifiers"]) != header["rows"]:
        yield "its means do not follow from its answers"
    for row in range(0, len(answers), -(-len(answers) // 32)):  # some 32 answers: thousands would take minutes
        text, fasttext = answers[row]["output"], parameters["fasttext"]
        again = identify(text, parameters["minimum_bytes"], parameters["identifiers"], fasttext)
        again |= confusion(text, fasttext)
        if again != table.loc[row, [*again]].to_dict():
            yield f"identifying the language again gives {again} for its row {row + 1}"


def check_judgements(path: Path, header: dict) -> Iterator[str]:
    table = read_judgements(path.with_suffix(".tsv"))
    (source,) = inputs(header, "generations")
    origin, answers = read_answers(source)
    if any(header[name] != origin[name] for name in COPIED):
        yield f"has another setting, model or prompt than {source}"
    rows = table.to_dict("records")
    if [[row[key] for key in KEYS] for row in rows] != [[row[key] for key in KEYS] for row in answers]:
        yield f"its answers are not those of {source}"
    if not judgements(rows, [None if row["status"] == "failed" else row["verdict"] for row in rows]).equals(table):
        yield "reading its verdicts again gives other ratings"
    if summary(table) != header["rows"]:
        yield "its rows do not follow from its ratings"


def check_embeddings(path: Path, header: dict) -> Iterator[str]:
    embeddings = read_array(path.with_suffix(".npy"), mmap=True)
    shape = header["layers"], header["sentences"], header["width"]
    if embeddings.shape != shape or embeddings.dtype != np.float32:
        yield f"is {embeddings.dtype} of shape {embeddings.shape}, the header says float32 of {shape}"
    if not np.isfinite(embeddings).all():
        yield "holds a number that is NaN or infinite"
    model, questions = inputs(header, ("model", "questions"))
    if header["layers"] != read_json(model)["layers"]:
        yield f"has {header['layers']} layers, not those of {model}"
    numbers = list(load_questions(questions))
    if header["numbers"] != numbers or header["sentences"] != len(numbers):
        yield f"its sentences are not those of {questions}"


def check_generations(path: Path, header: dict) -> Iterator[str]:
    _, answers = read_answers(path)
    yield from _check_outputs(header, answers)
    if header["prompt"] in ("plain", "suffix"):
        yield from _check_answers(header, answers)
    else:
        yield from _check_texts(header, answers)


def _check_outputs(header: dict, answers: list[dict]) -> Iterator[str]:
    """Check that every output is the text of its tokens."""
    tokenizer = tokenizer_of(header)
    for answer, text in zip(answers, tokenizer.decode_batch([answer["tokens"] for answer in answers]), strict=True):
        text, stopped = trimmed(text, header["parameters"]["stop"])
        found = answer.get("thoughts", ""), answer["output"], answer["finish_reason"] == "stop"
        if found != (*split_thoughts(answer["prompt"], text), stopped):
            yield f"an answer in {answer['target']} to question {answer['number']} is not the text of its tokens"
    if counts(answers) != header["rows"]:
        yield "its rows are not the counts of its answers"


def _check_texts(header: dict, answers: list[dict]) -> Iterator[str]:
    """Check texts under expert units or neurons: every seed or sentence of every target is there, and hooks fit."""
    parameters, targets = header["parameters"], header["languages"]
    if header["prompt"] == "unconditional":
        wanted = [("", target, seed, "") for target in targets for seed in range(1, parameters["seeds"] + 1)]
    else:
        pairs = {read_json(source)["language"]: source for source in inputs(header, "pairs")}
        wanted = [
            (read_json(pairs[target])["source_language"], target, pair["number"], pair["source"])
            for target in targets
            for pair in load_pairs(pairs[target])
        ]
    if [tuple(answer[key] for key in (*KEYS, "question")) for answer in answers] != wanted:
        yield "its texts are not those of its seeds or sentences, target by target"
    setting = TextSetting.parse(header["setting"])
    units = next(map(ExpertUnits.load, inputs(header, "expert_units")), None)
    neurons = next(map(Neurons.load, inputs(header, "neurons")), None)
    values = next(map(SteeringValues.load, inputs(header, "steering")), None)
    if [hook["target"] for hook in header["hooks"]] != (targets if setting.method else []):
        yield "has no record of what fired for each of its targets"
    for hook in header["hooks"]:
        done = text_perturbation(setting, hook["target"], units, neurons, values)
        expected = done.size if isinstance(done, UnitPerturbation) else sum(map(len, done.indices.values()))
        if not hook["neurons"] == expected == header["size"][hook["target"]] or (expected and not hook["fed"]):
            yield f"its hooks for {hook['target']} are on {hook['neurons']} units, not on those of the setting"


def _check_answers(header: dict, answers: list[dict]) -> Iterator[str]:
    """Check answers to questions: all of them are there, under the perturbation of their setting."""
    asked = {read_json(source)["language"]: load_questions(source) for source in inputs(header, "questions")}
    steering = {key: value for key, value in (header["steering"] or {}).items() if key != "values"}
    # The name of a setting diffmean has its push.
    setting = Setting.parse(header["setting"], Dose(**steering) if "mode" in steering else Dose())
    parts = setting.pairs(list(asked))
    wanted = [(*part, number, question) for part in parts for number, question in asked[part[0]].items()]
    if [tuple(answer[key] for key in (*KEYS, "question")) for answer in answers] != wanted:
        yield "its answers are not those to its questions, language by language"
        return
    neurons = next(map(Neurons.load, inputs(header, "neurons")), None)
    values = next(map(SteeringValues.load, inputs(header, "steering")), None)
    directions = next(map(Directions.load, inputs(header, "directions")), None)
    if len(header["hooks"]) != (len(parts) if setting.method else 0):
        yield "has no record of what fired for each of its parts"
    for hook, part in zip(header["hooks"], parts, strict=False):
        if directions is not None:
            changed = [directions.pushes(part[1], setting.dose)]
        else:
            changed = [each.indices for each in setting_perturbation(setting, *part, neurons, values).parts]
        expected = sum(len(index) for each in changed for index in each.values())
        if hook["neurons"] != expected or (expected and not hook["fed"]):
            yield f"its hooks on {' to '.join(part)} are on {hook['neurons']} neurons, not on those of the setting"
