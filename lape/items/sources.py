"""The artifacts that each item is made from, and the options of its command, as functions of the configuration.

Paths of headers begin with `<results>`, the run's folder. The workflow calls these functions while it starts, so this
module must import nothing slow: only the standard library and the configuration.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from lape.config import expert_languages, item_models, model_languages, task_languages, translated_languages
from lape.errors import LapeError
from lape.interventions.dose import STEERED

Headers = Callable[[dict], list[str]]
_ARRAY = re.compile(r"/average_precision(-\d)?\.json$|/embeddings/")
_STABILITY_PARTS = ("splits", "resamples", "frequency", "left_out")


# Headers of artifacts


def perplexity(config: dict, models: Iterable[str], methods: Sequence[str]) -> list[str]:
    """Whole matrices and their baselines. PV is left out below three languages, which it needs to compare."""
    return [
        f"<results>/perplexity/{model}/{row}.json"
        for model in models
        for row in (
            "none/baseline",
            *(
                f"{method}/{language}"
                for method in methods
                if not method.endswith("pv") or len(model_languages(config, model)) > 2
                for language in model_languages(config, model)
            ),
        )
    ]


def control_of(method: str) -> str:
    """The control that a method is compared with: as active neurons, for PV as large and as changed parameters."""
    return f"active_{method}"


def with_controls(methods: Iterable[str]) -> list[str]:
    """Some methods, each before its control. A direction (diffmean) has none: its matrix has other languages' cells."""
    pairs = ((method,) if method == "diffmean" else (method, control_of(method)) for method in methods)
    return [name for pair in pairs for name in pair]


def corpora(config: dict) -> list[str]:
    """The corpora of the run's languages."""
    return [f"<results>/corpus/{language}.json" for language in config["languages"]]


def matrices(item: str, *methods: str) -> Headers:
    """The matrices of some methods for the item's models."""
    return lambda config: perplexity(config, item_models(config, item), methods)


def every_method(config: dict) -> list[str]:
    """Figure 2: every method and its control."""
    methods = with_controls(config["experiments"]["deactivation_by_method"]["methods"])
    return perplexity(config, item_models(config, "deactivation_by_method"), methods)


def every_matrix(config: dict) -> list[str]:
    """The matrices of Figures 2, 3 and 8."""
    others = (
        matrices("deactivation_by_model", "lape", "active_lape"),
        matrices("deactivation_random", "random", "matched_lape", "active_lape"),
    )
    return list(dict.fromkeys([*every_method(config), *(header for other in others for header in other(config))]))


def every_ratio(config: dict) -> list[str]:
    """Figure 4: one language deactivated at every ratio."""
    neurons, ratios = config["neurons"], config["experiments"]["deactivation_by_ratio"]["ratios"]
    language = language_of(config, "deactivation_by_ratio", "language", "fr")

    def selected(ratio: float) -> str:
        # The matrix of LAPE has the row at the configured ratio already.
        return "lape" if ratio == neurons["ratio"] and neurons["quota"] is None else f"sweep-{ratio}"

    return [
        f"<results>/perplexity/{model}/{row}.json"
        for model in _that_know(config, item_models(config, "deactivation_by_ratio"), language)
        for row in ("none/baseline", *(f"{selected(ratio)}/{language}" for ratio in ratios))
    ]


def equal_effect(config: dict) -> list[str]:
    """Figure 4's rows of LAPE, and the same language's rows by the other methods of Figure 2 and by the controls."""
    language = language_of(config, "deactivation_by_ratio", "language", "fr")
    methods = config["experiments"]["deactivation_by_method"]["methods"]
    models = [
        model
        for model in _that_know(config, item_models(config, "deactivation_by_ratio"), language)
        if model in item_models(config, "deactivation_by_method")
    ]
    known = every_method(config)
    rows = [
        f"<results>/perplexity/{model}/{name}/{language}.json" for model in models for name in with_controls(methods)
    ]
    curve = [header for header in every_ratio(config) if header.split("/")[2] in models]
    return list(dict.fromkeys([*curve, *(row for row in rows if row in known)]))


def neurons(item: str, *methods: str) -> Headers:
    """The neurons that some methods select for the item's models."""
    return lambda config: _neurons(item_models(config, item), methods)


def stability(config: dict) -> list[str]:
    """The stability of every model's neurons."""
    return [f"<results>/stability/{model}.json" for model in item_models(config, "stability")]


def left_out(config: dict) -> list[str]:
    """The stability of the models with at least three languages: of two languages none can be left out."""
    models = item_models(config, "stability")
    return [f"<results>/stability/{model}.json" for model in models if len(model_languages(config, model)) > 2]


def answers_deactivated(config: dict) -> list[str]:
    """Answers with nothing deactivated, with a control of the question's language, and with every language."""
    return [
        header
        for model in item_models(config, "answers_deactivated")
        for header in _scores(
            config, [model], ["normal", "random", *(f"deactivated-{k}" for k in model_languages(config, model))]
        )
    ]


def example_deactivated(config: dict) -> list[str]:
    """Normal answers, and answers with the neurons of one language deactivated."""
    language = _example_deactivated_languages(config)["language"]
    models = _that_know(config, item_models(config, "example_deactivated"), language)
    return _scores(config, models, ["normal", f"deactivated-{language}"], ratings=False)


def answers_steered(config: dict) -> list[str]:
    """Normal answers, steered answers and answers under the control of steering, with every prompt."""
    models, prompts = item_models(config, "answers_steered"), config["generation"]["prompts"]
    return _scores(config, models, ["normal", "steered", "steered_random"], prompts)


def example_cross_lingual(config: dict) -> list[str]:
    """Normal answers, and answers that are steered from the question's language to another one."""
    source, target = _example_cross_lingual_languages(config).values()
    models = _that_know(config, item_models(config, "example_cross_lingual"), source, target)
    return _scores(config, models, ["normal", f"cross-{source}"], ratings=False)


def cross_lingual(config: dict) -> list[str]:
    """Answers that are steered from every language to every other one, and answers under the control."""

    def crosses(model: str) -> list[str]:
        languages = model_languages(config, model)
        return [f"{kind}-{language}" for kind in ("cross", "cross_random") for language in languages]

    return [
        header
        for model in item_models(config, "cross_lingual")
        for header in _scores(config, [model], ["normal", *crosses(model)], ratings=False)
    ]


def dose_response(config: dict) -> list[str]:
    """Answers at every dose of steering, towards the question's own language and from one language to the others."""
    language = language_of(config, "dose_response", "language", "en")
    kinds = ["steered", f"cross-{language}"]
    own, doses = config["steering"]["dose"], config["experiments"]["dose_response"]["doses"]
    suffixes = ["", *(f"@{dose}" for dose in doses if dose != own)]
    models = _that_know(config, item_models(config, "dose_response"), language)
    settings = ["normal", *(f"{kind}{suffix}" for kind in kinds for suffix in suffixes)]
    return _scores(config, models, settings, ratings=False)


def steering_methods(config: dict) -> list[str]:
    """Answers in other languages: by neurons at every dose, their control, directions of DiffMean, and the prompt."""
    language = language_of(config, "steering_methods", "language", "en")
    own, doses = config["steering"]["dose"], config["experiments"]["dose_response"]["doses"]
    settings = [f"cross-{language}", *(f"cross-{language}@{dose}" for dose in doses if dose != own)]
    settings += [f"cross_random-{language}", f"prompted-{language}"]
    settings += [f"diffmean-{language}@{push}" for push in config["experiments"]["steering_methods"]["pushes"]]
    models = _that_know(config, item_models(config, "steering_methods"), language)
    return _scores(config, models, settings)


def downstream(config: dict) -> list[str]:
    """Accuracy on every task with nothing switched, by every method and its control, and with each language steered.

    Behind them are the perplexities by the methods and their controls, where a task is measured.
    """
    section = config["experiments"]["downstream"]
    methods = [row for name in section["methods"] for row in (name, control_of(name))]
    settings = [*methods, *(f"{STEERED}{name}" for name in section["steered"])]
    measured = {
        (model, task): languages
        for model in item_models(config, "downstream")
        for task in config["tasks"]
        if (languages := task_languages(config, task, model))
    }
    accuracies = [
        f"<results>/accuracy/{model}/{task}/{row}.json"
        for (model, task), languages in measured.items()
        for row in ("none/baseline", *(f"{setting}/{language}" for setting in settings for language in languages))
    ]
    return accuracies + perplexity(config, dict.fromkeys(model for model, _ in measured), methods)


def similarity_by_layer(config: dict) -> list[str]:
    """The sentence embeddings of every language, and the neurons."""
    models = item_models(config, "similarity_by_layer")
    return [*_embeddings(config, models), *_neurons(models, ["lape"])]


def dominance_by_layer(config: dict) -> list[str]:
    """The sentence embeddings of every language."""
    return _embeddings(config, item_models(config, "dominance_by_layer"))


def expert_units(*stems: str) -> Headers:
    """Artifacts of every model's expert units, by their stems, such as "units" and "average_precision"."""
    return lambda config: [
        f"<results>/expert_units/{model}/{stem}.json" for model in item_models(config, "expert_units") for stem in stems
    ]


def expert_share(config: dict) -> list[str]:
    """Texts with nothing overwritten, with the expert units and with as many random ones."""
    size = config["expert_units"]["size"]
    selections = ["none", f"top-{size}", f"bottom-{size}", f"both-{2 * size}", f"random-{2 * size}"]
    return _texts(item_models(config, "expert_units"), ["unconditional"], selections)


def expert_sizes(config: dict) -> list[str]:
    """Texts with nothing overwritten, with both rankings at every size, and with each ranking alone."""
    size = config["expert_units"]["size"]
    sizes = sorted({2 * size, *config["expert_units"]["sizes"]})
    selections = ["none", *(f"both-{each}" for each in sizes), f"top-{size}", f"bottom-{size}", f"random-{2 * size}"]
    return _texts(item_models(config, "expert_units"), ["unconditional"], selections)


def expert_values(config: dict) -> list[str]:
    """Texts under expert units and random units, at their medians on the target language and on another one.

    Expert units at their own medians have every size. The smallest size, at which hardly anything happens, is left out
    of random units and of another language's medians. Random units at those have the main size alone.
    """
    size = 2 * config["expert_units"]["size"]
    sizes = sorted({size, *config["expert_units"]["sizes"]})
    selections = [f"both-{each}" for each in sizes]
    selections += [f"{kind}-{each}" for kind in ("random", "both_other") for each in sizes[1:] or sizes]
    selections = dict.fromkeys(["none", *selections, f"random-{size}", f"random_other-{size}"])
    return _texts(item_models(config, "expert_units"), ["unconditional"], list(selections))


def expert_translation(config: dict) -> list[str]:
    """Translations with nothing overwritten, with the expert units and with as many random ones."""
    size, corpora = config["expert_units"]["size"], config["translation"]["corpora"]
    prompts = [f"translation-{corpus}" for corpus in corpora if translated_languages(config, corpus)]
    selections = ["none", f"both-{2 * size}", f"random-{2 * size}"]
    return _texts(item_models(config, "expert_units"), prompts, selections)


def expert_steering(config: dict) -> list[str]:
    """Texts by LAPE's neurons, by their control, by the neurons of highest average precision, and by expert units.

    The expert units are as many as LAPE's neurons, or as many as the other items take.
    """
    both = f"both-{2 * config['expert_units']['size']}"
    selections = ["none", "lape", "active_lape", "ap", "both-lape", both]
    return _texts(compared_models(config), ["unconditional"], selections)


def expert_agreement(config: dict) -> list[str]:
    """Neurons that are selected by LAPE, and by average precision."""
    return _neurons(compared_models(config), ["lape", "ap"])


def expert_deactivation(config: dict) -> list[str]:
    """Perplexity without LAPE's neurons, as many neurons by average precision, as many expert units, or a control."""
    methods = ["lape", "active_lape", "ap", "active_ap", "expert_units", "active_expert_units"]
    return perplexity(config, compared_models(config), methods)


def compared_models(config: dict) -> list[str]:
    """The models whose LAPE and expert units are of the same languages."""
    pool = set(expert_languages(config))
    return [model for model in item_models(config, "expert_units") if set(model_languages(config, model)) == pool]


def _neurons(models: Iterable[str], methods: Sequence[str]) -> list[str]:
    return [f"<results>/neurons/{model}/{method}.json" for model in models for method in methods]


def _embeddings(config: dict, models: Iterable[str]) -> list[str]:
    return [
        f"<results>/embeddings/{model}/{language}.json"
        for model in models
        for language in model_languages(config, model)
    ]


def _scores(
    config: dict,
    models: Iterable[str],
    settings: Sequence[str],
    prompts: Sequence[str] | None = None,
    ratings: bool = True,
) -> list[str]:
    """Scores of some settings, and judgements where a judge is configured.

    Where no prompt is named, only the first configured one is used.
    """
    kinds = ["scores", *(["judgements"] if ratings and config["judge"]["base_url"] else [])]
    prompts = prompts or config["generation"]["prompts"][:1]
    unasked = [language for language in config["languages"] if language not in config["generation"]["suffixes"]]
    if "suffix" in prompts and unasked:
        raise LapeError(f"config generation.suffixes: none for language {unasked[0]!r}; add it")
    return [
        f"<results>/{kind}/{model}/{prompt}/{setting}.json"
        for kind in kinds
        for model in models
        for prompt in prompts
        for setting in settings
    ]


def _texts(models: Iterable[str], prompts: Sequence[str], selections: Sequence[str]) -> list[str]:
    return [
        f"<results>/scores/{model}/{prompt}/{selection}.json"
        for model in models
        for prompt in prompts
        for selection in selections
    ]


# Data that an item reads beside the headers


def nothing(config: dict, headers: Sequence[str]) -> list[str]:
    """No data."""
    return []


def beside(config: dict, headers: Sequence[str]) -> list[str]:
    """The data beside each header: a table, an array, or the parts of the stability."""
    stems = [header.removesuffix(".json") for header in headers]
    return [
        f"{stem}{suffix}"
        for stem, header in zip(stems, headers, strict=True)
        for suffix in ([f".{part}.tsv" for part in _STABILITY_PARTS] if "/stability/" in header else [_suffix(header)])
    ]


def _suffix(header: str) -> str:
    """The suffix of the data beside a header."""
    if "/tables/" in header:
        return ".csv"
    return ".npz" if "/statistics/" in header else ".npy" if _ARRAY.search(header) else ".tsv"


def with_answers(config: dict, headers: Sequence[str]) -> list[str]:
    """The tables of scores, and the answers that were scored."""
    scored = [header.replace("/scores/", "/generations/").removesuffix(".json") for header in headers]
    return [*beside(config, headers), *(f"{stem}{suffix}" for stem in scored for suffix in (".json", ".jsonl"))]


def with_pairs(config: dict, headers: Sequence[str]) -> list[str]:
    """The tables of scores, the translations that were scored, and the pairs of every corpus and language."""
    return [
        *with_answers(config, headers),
        *(
            f"<results>/pairs/{corpus}/{language}{suffix}"
            for corpus in config["translation"]["corpora"]
            for language in translated_languages(config, corpus)
            for suffix in (".json", ".jsonl")
        ),
    ]


# Options of `lape table`


class Options(NamedTuple):
    """Options that shape the rows of a table: their names, and a function from the configuration to their values."""

    names: tuple[str, ...] = ()
    values: Callable[[dict], dict[str, object]] = lambda config: {}


def bootstrap(section: str) -> Options:
    """The options resamples and seed, with the values in one section of the configuration."""
    names = ("resamples", "seed")
    return Options(names, lambda config: {name: config[section][name] for name in names})


def _related(config: dict) -> dict[str, object]:
    """The options resamples and seed, and the pairs of related languages as "zh+ja,fr+es"."""
    pairs = ",".join("+".join(pair) for pair in config["perplexity"]["related"])
    return {**bootstrap("perplexity").values(config), "related": pairs}


def _example_deactivated_languages(config: dict) -> dict[str, object]:
    """The option for the language of Table 2's question: the configured one, zh, or the first that is not en."""
    return {"language": language_of(config, "example_deactivated", "language", "zh", "en")}


def _example_cross_lingual_languages(config: dict) -> dict[str, object]:
    """The options for the languages of Table 5's question and answer.

    They are the configured languages, else es and zh, else the first languages of the models.
    """
    source = language_of(
        config,
        "example_cross_lingual",
        "source",
        "es",
        other_than=config["experiments"]["example_cross_lingual"]["target"],
    )
    target = language_of(config, "example_cross_lingual", "target", "zh", other_than=source)
    if target == source:
        raise LapeError(
            f"config experiments.example_cross_lingual.target: {target!r} is the question's language; name another"
        )
    return {"source": source, "target": target}


NO_OPTIONS = Options()
RELATED = Options(("resamples", "seed", "related"), _related)
UNITS = Options(("size",), lambda config: {"size": config["expert_units"]["size"]})
QUESTION = Options(("language",), _example_deactivated_languages)
QUESTION_AND_ANSWER = Options(("source", "target"), _example_cross_lingual_languages)


def language_of(config: dict, item: str, key: str, paper: str, other_than: str | None = None) -> str:
    """The language of an experiment: the configured one, else the paper's if a language of the run, else the first."""
    known = [language for language in config["languages"] if language != other_than] or config["languages"]
    return config["experiments"][item][key] or (paper if paper in known else known[0])


def _that_know(config: dict, models: Sequence[str], *languages: str) -> list[str]:
    """The models that are studied in all of some languages.

    Raises:
        LapeError: there is no such model.
    """
    found = [model for model in models if set(languages) <= set(model_languages(config, model))]
    if not found:
        named = f"{', '.join(models)} are not studied in {' and '.join(languages)}"
        raise LapeError(f"config experiments: {named}; name another language")
    return found
