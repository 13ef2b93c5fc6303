"""Check a finished run: that every hash holds, and that the numbers of each stage follow from earlier stages."""

from collections.abc import Callable, Iterator
from pathlib import Path

from lape.artifacts.files import read_json
from lape.audit import contexts, evaluation, expert_units, neurons, provenance, text
from lape.audit.inputs import inputs
from lape.config import item_models, model_languages
from lape.items.registry import TABLES
from lape.items.tables import texts


def audit(manifest: dict) -> Iterator[tuple[str, str]]:
    """Recompute the hashes of a manifest, and check every artifact's invariants.

    An artifact whose input has a fault is not checked any further. A fault in the input explains whatever is wrong with
    the artifact, and naming both would hide the cause.

    Args:
        manifest: the result of `lape.artifacts.manifest.build_manifest`. Paths are relative to the working directory.

    Yields:
        (path, what is wrong with the file), one for every fault; nothing where all is well.
    """
    artifacts, run = manifest["artifacts"], f"results/{manifest['config'].get('run')}"
    yield from provenance.check_files(manifest)
    broken: set[str] = set()
    for path, entry in artifacts.items():
        faults = list(provenance.differing({path: entry["sha256"], **entry["files"]}))
        yield from faults
        yield from provenance.left_over(path, entry["files"])
        if faults:
            broken |= {path, *entry["files"]}

    hashes = {name: digest for entry in artifacts.values() for name, digest in entry["files"].items()}
    hashes |= {path: entry["sha256"] for path, entry in artifacts.items()}
    headers: dict[str, dict] = {}
    for path, entry in artifacts.items():
        if path in broken:
            continue
        try:
            headers[path] = read_json(path, entry["artifact"])
            yield from ((path, fault) for fault in provenance.check_provenance(path, entry, headers[path], hashes))
            yield from ((path, fault) for fault in provenance.check_place(path, headers[path], run))
            if not broken.intersection(headers[path]["inputs"]) and entry["artifact"] in CHECKS:
                yield from ((path, fault) for fault in CHECKS[entry["artifact"]](Path(path), headers[path]))
        except Exception as error:  # behind a forged hash a file can hold anything
            yield (
                path,
                f"cannot be checked ({type(error).__name__}: {(str(error) or 'no more is known').splitlines()[0]})",
            )
    yield from provenance.check_descent(headers, artifacts.keys() - headers.keys())
    if not any(artifacts[path]["artifact"] == "perplexity" for path in broken.intersection(artifacts)):
        yield from _matrices(manifest["config"], headers)


def _check_table(path: Path, header: dict) -> Iterator[str]:
    item = header["item"]
    if item not in TABLES or not path.with_suffix(".latex").is_dir():
        yield "is of an earlier version, whose items have other names or files, so it is not made again to compare"
        return
    frame = TABLES[item].rows(inputs(header, TABLES[item].artifacts), **header["parameters"])
    for suffix, content in texts(item, frame).items():
        made = Path(f"{path.with_suffix('')}{suffix}")
        if made.read_text(encoding="utf-8") != content:
            yield f"making {made.name} again from its inputs gives another"


CHECKS: dict[str, Callable[[Path, dict], Iterator[str]]] = {
    "corpus": text.check_corpus,
    "tokens": text.check_tokens,
    "instructions": text.check_instructions,
    "questions": text.check_questions,
    "sentences": text.check_sentences,
    "pairs": text.check_pairs,
    "task": text.check_task,
    "responses": expert_units.check_responses,
    "average_precision": expert_units.check_average_precision,
    "average_precision_half": expert_units.check_average_precision,
    "expert_units": expert_units.check_units,
    "statistics": neurons.check_statistics,
    "neurons": neurons.check_neurons,
    "contexts": contexts.check_contexts,
    "vocabulary_effects": contexts.check_vocabulary_effects,
    "stability": neurons.check_stability,
    "steering": neurons.check_steering,
    "parameters": neurons.check_parameters,
    "perplexity": evaluation.check_perplexity,
    "draws": evaluation.check_draws,
    "accuracy": evaluation.check_accuracy,
    "generations": evaluation.check_generations,
    "scores": evaluation.check_scores,
    "judgements": evaluation.check_judgements,
    "embeddings": evaluation.check_embeddings,
    "table": _check_table,
}


def _matrices(config: dict, headers: dict[str, dict]) -> Iterator[tuple[str, str]]:
    """Check that every model has a baseline and the matrices of LAPE and its control, and that no matrix lacks a row.

    A run of the target expert_units alone has no matrices.
    """
    items = [header["item"] for header in headers.values() if header["artifact"] == "table"]
    if items and all(item.startswith("expert_") for item in items):
        return
    done: dict[str, set[str]] = {}
    for path, header in headers.items():
        if header["artifact"] == "perplexity":
            done.setdefault(str(Path(path).parent), set()).add(header["deactivated"])
    folders = [f"results/{config['run']}/perplexity/{model}" for model in item_models(config, "deactivation_matrix")]
    wanted = {f"{folder}/{method}" for folder in folders for method in ("lape", "active_lape")}
    wanted |= {folder for folder, rows in done.items() if rows != {"baseline"} and "/sweep-" not in folder}
    for folder in sorted(wanted):
        languages = model_languages(config, Path(folder).parent.name)
        missing = [language for language in languages if language not in done.get(folder, ())]
        if missing:
            yield folder, f"lacks the row {', '.join(missing)}"
    for folder in folders:
        if "baseline" not in done.get(f"{folder}/none", ()):
            yield folder, "lacks the row baseline"
