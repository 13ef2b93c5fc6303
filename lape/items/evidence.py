"""The artifacts that the items on controls and claims are made from, as functions of the configuration.

As in `lape.items.sources`, paths begin with `<results>`, and nothing slow is imported.
"""

from collections.abc import Iterable, Sequence

from lape.config import item_models, model_languages
from lape.items import sources
from lape.items.variants import EVALUATION, SELECTION, at, variants


def control_draws(config: dict) -> list[str]:
    """LAPE's matrix, the first draw of its control, and the further draws of the default target."""
    models, draws = item_models(config, "deactivation_matrix"), config["perplexity"]["draws"]
    return [*sources.perplexity(config, models, ["lape", "active_lape"]), *_draws(config, models, ["lape"], draws)]


def control_draws_by_method(config: dict) -> list[str]:
    """The matrices of some methods and of their controls, and many draws of the controls."""
    models, section = item_models(config, "deactivation_by_method"), config["experiments"]["control_draws_by_method"]
    methods = sources.with_controls(section["methods"])
    return [*sources.perplexity(config, models, methods), *_draws(config, models, section["methods"], section["draws"])]


def pv_learning_curve(config: dict) -> list[str]:
    """PV's matrix after every number of steps of the training, and the matrix of the whole training's control."""
    steps = config["experiments"]["pv_learning_curve"]["steps"]
    methods = [*(f"pv_after-{step}" for step in steps), "pv", sources.control_of("pv")]
    return sources.perplexity(config, _trained(config), methods)


def has_pv(config: dict) -> bool:
    """Whether Figure 2 has PV, which needs three languages."""
    return "pv" in config["experiments"]["deactivation_by_method"]["methods"] and bool(_trained(config))


def _trained(config: dict) -> list[str]:
    models = item_models(config, "deactivation_by_method")
    return [model for model in models if len(model_languages(config, model)) > 2]


def controls(config: dict) -> list[str]:
    """LAPE's neurons, their controls, and the statistics of every language."""
    return _with_statistics(config, "deactivation_matrix", ["lape"])


def controls_by_method(config: dict) -> list[str]:
    """The neurons of every method of Figure 2 that has some, their controls, and the statistics of every language."""
    known = config["experiments"]["deactivation_by_method"]["methods"]
    methods = [name for name in known if name not in ("pv", "diffmean")]
    return _with_statistics(config, "deactivation_by_method", methods)


def selection_choices(config: dict) -> list[str]:
    """The neurons of LAPE and LAVE, as far as Figure 2 has them, and the statistics of every language."""
    methods = [name for name in config["experiments"]["deactivation_by_method"]["methods"] if name in ("lape", "lave")]
    item = "deactivation_by_method"
    return [*sources.neurons(item, *methods)(config), *_statistics(config, item)]


def robustness(config: dict) -> list[str]:
    """LAPE's neurons, its matrix and the baseline, of the run and of every variant, as far as they are its own."""
    return list(
        dict.fromkeys(
            header
            for model in item_models(config, "robustness")
            for name in (model, *variants(config, model))
            for header in (
                f"<results>/neurons/{at(config, name, 'neurons', SELECTION)}/lape.json",
                f"<results>/perplexity/{at(config, name, 'tokens', EVALUATION)}/none/baseline.json",
                *(f"<results>/perplexity/{name}/lape/{language}.json" for language in model_languages(config, model)),
            )
        )
    )


def claims(config: dict) -> list[str]:
    """The tables of the default target that test claims, and LAPE's neurons."""
    tables = ["specificity", "control_draws", "deactivation_matrix"]
    return [*_tables(tables), *sources.neurons("deactivation_matrix", "lape")(config)]


def claims_of_both_papers(config: dict) -> list[str]:
    """The tables of both papers that test claims, and LAPE's neurons."""
    tables = ["similarity_by_layer", "dominance_by_layer", "answers_steered"]
    tables += ["expert_overlap", "expert_layers", "expert_share"]
    return [*claims(config), *_tables(tables)]


def _tables(items: Iterable[str]) -> list[str]:
    return [f"<results>/tables/{item}.json" for item in items]


def _draws(config: dict, models: Iterable[str], methods: Sequence[str], draws: int) -> list[str]:
    return [
        f"<results>/draws/{model}/{method}-{draws}/{language}.json"
        for model in models
        for method in methods
        if method != "pv" or len(model_languages(config, model)) > 2
        for language in model_languages(config, model)
    ]


def _with_statistics(config: dict, item: str, methods: Sequence[str]) -> list[str]:
    """The neurons of some methods, their controls of both kinds, and the statistics of every language."""
    names = [name for method in methods for name in (method, f"active_{method}", f"matched_{method}")]
    return [*sources.neurons(item, *names)(config), *_statistics(config, item)]


def _statistics(config: dict, item: str) -> list[str]:
    return [
        f"<results>/statistics/{model}/{language}.json"
        for model in item_models(config, item)
        for language in model_languages(config, model)
    ]
