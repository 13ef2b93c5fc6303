"""The items of the targets, and which artifacts each is made from."""

from lape.paper import pretraining_shares

# Of two languages none can be left out.
LEFT_OUT_MODELS = [model for model in models_of("stability") if len(languages_of(model)) > 2]
# LAPE and expert units side by side, where both are of the same languages.
COMPARED_MODELS = [model for model in models_of("expert_units") if set(languages_of(model)) == set(EXPERT_LANGUAGES)]
# Tables and figures by the target that makes them; what the report shows.
DEFAULT_ITEMS = [
    *(f"<results>/tables/{item}.csv" for item in ("baseline", "deactivation", "table3", "tables6_10")),
    *(f"<results>/figures/{item}.svg" for item in ("deactivation", "deactivation_log_ratio", "figure5")),
]
PAPER_TABLES = ("figure2", "figure3", "figure4", "figure8", "sharing", "sharing_histogram", "diagonality")
PAPER_TABLES += ("agreement", "stability", "stability_curve")
PAPER_TABLES += ("table7",) * (not set(pretraining_shares().index).isdisjoint(config["languages"]))
PAPER_TABLES += ("left_out",) * bool(LEFT_OUT_MODELS)
PAPER_FIGURES = ("figure2", "figure3", "figure4", "figure8", "sharing", "sharing_histogram", "agreement")
PAPER_FIGURES += ("stability", "stability_curve")
PAPER_TABLES += ("table1", "table2", "table4", "table5", "cross_lingual", "dose_response", "figure6", "figure7")
PAPER_FIGURES += ("cross_lingual", "dose_response", "figure6", "figure7")
EXPERT_TABLES = ("expert_precision", "expert_overlap", "expert_layers", "expert_histogram", "expert_share")
EXPERT_TABLES += ("expert_sizes",)
EXPERT_TABLES += ("expert_translation",) * any(map(translated_languages, config["translation"]["corpora"]))
EXPERT_FIGURES = ("expert_layers", "expert_histogram", "expert_share", "expert_sizes")
EXPERT_ITEMS = [
    *(f"<results>/tables/{item}.csv" for item in EXPERT_TABLES),
    *(f"<results>/figures/{item}.svg" for item in EXPERT_FIGURES),
]
COMPARISON_TABLES = ("expert_agreement", "expert_deactivation", "expert_diagonality", "expert_steering")
COMPARISON_ITEMS = [
    *(f"<results>/tables/{item}.csv" for item in COMPARISON_TABLES),
    *(f"<results>/figures/{item}.svg" for item in ("expert_deactivation", "expert_steering")),
] * bool(COMPARED_MODELS)
PAPER_ITEMS = [
    *DEFAULT_ITEMS,
    *(f"<results>/tables/{item}.csv" for item in PAPER_TABLES),
    *(f"<results>/figures/{item}.svg" for item in PAPER_FIGURES),
    *EXPERT_ITEMS,
    *COMPARISON_ITEMS,
]


def language_of(item, key, paper, other_than=None):
    """The language of an experiment: the configured one, the paper's where it is among the languages, or the first."""
    known = [language for language in config["languages"] if language != other_than] or config["languages"]
    return config["experiments"][item][key] or (paper if paper in known else known[0])


def table5_languages():
    """The languages of question and answer of Table 5: the configured ones, es and zh, or the first that there are."""
    source = language_of("table5", "source", "es", other_than=config["experiments"]["table5"]["target"])
    target = language_of("table5", "target", "zh", other_than=source)
    if target == source:
        raise WorkflowError(f"config experiments.table5.target: {target!r} is the question's language; name another")
    return source, target


def that_know(models, *languages):
    """Those models that are studied in all of some languages; there is one."""
    found = [model for model in models if set(languages) <= set(languages_of(model))]
    if not found:
        raise WorkflowError(
            f"config experiments: {', '.join(models)} are not studied in {' and '.join(languages)}; name another language"
        )
    return found


def perplexity_headers(models, methods):
    """Headers of whole matrices and of their baselines; PV compares three languages or more."""
    return [
        f"<results>/perplexity/{model}/{row}.json"
        for model in models
        for row in (
            "none/baseline",
            *(
                f"{method}/{language}"
                for method in methods
                if not method.endswith("pv") or len(languages_of(model)) > 2
                for language in languages_of(model)
            ),
        )
    ]


def baseline_headers(wildcards):
    """Nothing deactivated."""
    return perplexity_headers(models_of("baseline"), [])


def deactivation_headers(wildcards):
    """LAPE and its control."""
    return perplexity_headers(models_of("deactivation"), ["lape", "matched_lape"])


def figure2_headers(wildcards):
    """Every method and its control."""
    methods = config["experiments"]["figure2"]["methods"]
    return perplexity_headers(
        models_of("figure2"), [row for method in methods for row in (method, f"matched_{method}")]
    )


def figure3_headers(wildcards):
    """LAPE and its control on more models."""
    return perplexity_headers(models_of("figure3"), ["lape", "matched_lape"])


def figure4_headers(wildcards):
    """One language deactivated at every ratio."""
    neurons, ratios = config["neurons"], config["experiments"]["figure4"]["ratios"]
    language = language_of("figure4", "language", "fr")

    def selected(ratio):
        # The matrix has this row already.
        return "lape" if ratio == neurons["ratio"] and neurons["quota"] is None else f"sweep-{ratio}"

    return [
        f"<results>/perplexity/{model}/{row}.json"
        for model in that_know(models_of("figure4"), language)
        for row in ("none/baseline", *(f"{selected(ratio)}/{language}" for ratio in ratios))
    ]


def figure8_headers(wildcards):
    """Random controls: from all layers alike, and layer by layer."""
    return perplexity_headers(models_of("figure8"), ["random", "matched_lape"])


def score_headers(models, settings, prompts=None, ratings=True):
    """Scores of some settings, and their ratings where a judge is configured."""
    kinds = ["scores", *(["judgements"] if ratings and config["judge"]["base_url"] else [])]
    prompts = prompts or config["generation"]["prompts"][:1]
    unasked = [language for language in config["languages"] if language not in config["generation"]["suffixes"]]
    if "suffix" in prompts and unasked:
        raise WorkflowError(f"config generation.suffixes: none for language {unasked[0]!r}; add it")
    return [
        f"<results>/{kind}/{model}/{prompt}/{setting}.json"
        for kind in kinds
        for model in models
        for prompt in prompts
        for setting in settings
    ]


def table1_headers(wildcards):
    """Nothing deactivated, a control of the question's language, and every language."""
    return [
        header
        for model in models_of("table1")
        for header in score_headers([model], ["normal", "random", *(f"deactivated-{k}" for k in languages_of(model))])
    ]


def table2_headers(wildcards):
    """Normal answers, and those of the language whose neurons are deactivated."""
    language = language_of("table2", "language", "zh", "en")
    return score_headers(that_know(models_of("table2"), language), ["normal", f"deactivated-{language}"], ratings=False)


def table4_headers(wildcards):
    """Normal, steered and the control of steering, with every prompt."""
    return score_headers(models_of("table4"), ["normal", "steered", "steered_random"], config["generation"]["prompts"])


def table5_headers(wildcards):
    """Normal answers, and those in another language."""
    source, target = table5_languages()
    return score_headers(that_know(models_of("table5"), source, target), ["normal", f"cross-{source}"], ratings=False)


def cross_lingual_headers(wildcards):
    """From every language to every other one, and the control."""

    def crosses(model):
        return [f"{kind}-{language}" for kind in ("cross", "cross_random") for language in languages_of(model)]

    return [
        header
        for model in models_of("cross_lingual")
        for header in score_headers([model], ["normal", *crosses(model)], ratings=False)
    ]


def dose_response_headers(wildcards):
    """Steering towards the question's own language, and from one language to the others, at every dose."""
    section = config["experiments"]["dose_response"]
    language = language_of("dose_response", "language", "en")
    kinds = ["steered", f"cross-{language}"]
    doses = ["", *(f"@{dose}" for dose in section["doses"] if dose != config["steering"]["dose"])]
    models = that_know(models_of("dose_response"), language)
    return score_headers(models, ["normal", *(f"{kind}{dose}" for kind in kinds for dose in doses)], ratings=False)


def embeddings_headers(models):
    """Sentence embeddings of every language."""
    return [f"<results>/embeddings/{model}/{language}.json" for model in models for language in languages_of(model)]


def figure6_headers(wildcards):
    """Sentence embeddings and neurons."""
    models = models_of("figure6")
    return [*embeddings_headers(models), *(f"<results>/neurons/{model}/lape.json" for model in models)]


def figure7_headers(wildcards):
    """Sentence embeddings."""
    return embeddings_headers(models_of("figure7"))


def diagonality_headers(wildcards):
    """Every matrix of the other items."""
    headers = [*figure2_headers(wildcards), *figure3_headers(wildcards), *figure8_headers(wildcards)]
    return list(dict.fromkeys(headers))


def units_headers(wildcards):
    """Expert units of every model."""
    return [f"<results>/expert_units/{model}/units.json" for model in models_of("expert_units")]


def precision_headers(wildcards):
    """Average precision of every unit, and the expert units, of every model."""
    return [
        f"<results>/expert_units/{model}/{stem}.json"
        for model in models_of("expert_units")
        for stem in ("average_precision", "units")
    ]


def text_headers(prompts, selections, models=models_of("expert_units")):
    """Scores of the texts of every model."""
    return [
        f"<results>/scores/{model}/{prompt}/{selection}.json"
        for model in models
        for prompt in prompts
        for selection in selections
    ]


def expert_share_headers(wildcards):
    """Nothing overwritten, the expert units and as many random ones."""
    size = config["expert_units"]["size"]
    selections = ["none", f"top-{size}", f"bottom-{size}", f"both-{2 * size}", f"random-{2 * size}"]
    return text_headers(["unconditional"], selections)


def expert_sizes_headers(wildcards):
    """Nothing overwritten, both rankings at every size, and each alone."""
    size = config["expert_units"]["size"]
    sizes = sorted({2 * size, *config["expert_units"]["sizes"]})
    selections = ["none", *(f"both-{each}" for each in sizes), f"top-{size}", f"bottom-{size}", f"random-{2 * size}"]
    return text_headers(["unconditional"], selections)


def expert_translation_headers(wildcards):
    """Translations with nothing overwritten, the expert units and as many random ones."""
    size = config["expert_units"]["size"]
    prompts = [f"translation-{corpus}" for corpus in config["translation"]["corpora"] if translated_languages(corpus)]
    return text_headers(prompts, ["none", f"both-{2 * size}", f"random-{2 * size}"])


def translated_pairs(wildcards):
    """The pairs of every corpus and language."""
    return [
        f"<results>/pairs/{corpus}/{language}{suffix}"
        for corpus in config["translation"]["corpora"]
        for language in translated_languages(corpus)
        for suffix in (".json", ".jsonl")
    ]


def expert_steering_headers(wildcards):
    """LAPE's neurons, their control, the neurons of highest average precision, and as many expert units or more."""
    both = f"both-{2 * config['expert_units']['size']}"
    return text_headers(["unconditional"], ["none", "lape", "matched_lape", "ap", "both-lape", both], COMPARED_MODELS)


def expert_agreement_headers(wildcards):
    """Neurons by LAPE, and by average precision."""
    return [f"<results>/neurons/{model}/{method}.json" for model in COMPARED_MODELS for method in ("lape", "ap")]


def expert_deactivation_headers(wildcards):
    """LAPE and its control, as many neurons by average precision, and as many expert units of any kind."""
    return perplexity_headers(COMPARED_MODELS, ["lape", "matched_lape", "ap", "expert_units"])


def comparison_items(wildcards):
    """The items of the comparison."""
    if not COMPARISON_ITEMS:
        raise WorkflowError("config expert_units.languages: are not the run's; name the same to compare with LAPE")
    return COMPARISON_ITEMS
