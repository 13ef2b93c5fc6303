"""Score the answers in one setting: their language, fluency, repetition and likeness to references."""

import argparse
import logging
from pathlib import Path

from lape.artifacts.files import read_json, write_header, writing
from lape.commands.arguments import add_backend
from lape.errors import LapeError
from lape.generation.answers import COPIED, read_answers
from lape.text.identification import (
    COMPARED,
    FURTHER,
    MINIMUM_BYTES,
    SEED,
    USUAL,
    known_languages,
)
from lape.text.language_codes import base_language

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="model.json of the model that answered")
    parser.add_argument("--generations", type=Path, required=True, help="header of the answers")
    parser.add_argument(
        "--reference",
        type=Path,
        nargs="+",
        required=True,
        help="header of the answers in setting normal; those of all sentences, for unconditional texts; those of all "
        "pairs, for translations",
    )
    parser.add_argument(
        "--minimum-bytes",
        type=int,
        default=MINIMUM_BYTES,
        help="bytes of letters (UTF-8) that an answer needs for its language to be identified",
    )
    parser.add_argument(
        "--identifiers",
        nargs="*",
        choices=FURTHER,
        default=list(USUAL),
        help="identifiers of languages beside langdetect and lingua; heliport is a package to install",
    )
    parser.add_argument(
        "--fasttext", type=Path, metavar="FILE", help="a model of fastText, such as lid.176.bin, for the shipped one"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="answers per forward pass")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch")
    add_backend(parser)
    parser.add_argument("--output", type=Path, required=True, help="SETTING.tsv, by answer; SETTING.json beside it")


def run(arguments: argparse.Namespace) -> None:
    from lape.evaluation import scores
    from lape.evaluation.references import references
    from lape.kernels import ops

    header, answers = read_answers(arguments.generations)
    wanted = references(arguments.reference, header, answers)
    described = read_json(arguments.model, "model")
    if header["model_revision"] != described["revision"]:
        raise LapeError(
            f"{arguments.generations}: made by {header['model']} at {header['model_revision']}, not by "
            f"{described['name']}; pass the model.json of the model that answered"
        )
    label = f"scores {header['model']} {header['prompt']} {header['setting']}"
    targets = list(dict.fromkeys(answer["target"] for answer in answers))
    further = {name: known_languages(name, arguments.fasttext) for name in _further(arguments)}
    _warn_of_unknown(label, targets, {name: known_languages(name) for name in COMPARED} | further)
    run, table = _scored(arguments, label, described, answers, wanted)

    with writing(arguments.output) as temporary:
        table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    rows = scores.summary(table, further)
    texts = [path.with_suffix(".jsonl") for path in (arguments.generations, *arguments.reference)]
    write_header(
        arguments.output.with_suffix(".json"),
        "scores",
        **{key: header[key] for key in COPIED},
        rows=rows,
        batch_size=run.batches.size,
        device=str(run.device),
        backend=ops.active_backend(run.device, arguments.backend),
        dtype=described["dtype"],
        parameters={
            **{name: getattr(arguments, name) for name in ("minimum_bytes", "batch_size", "threads", "backend")},
            "bos": described["bos_token_id"] is not None,  # without BOS the NLL does not count the first token
            "langdetect_seed": SEED,
            "lingua_languages": "all",
            "fasttext": str(arguments.fasttext) if arguments.fasttext else None,
            "identifiers": {name: sorted(codes) for name, codes in further.items()},
            "bleu_tokenizers": {target: scores.bleu_tokenizer(target) for target in targets},
        },
        inputs=[
            *(arguments.model, _tokenizer(arguments), arguments.generations, *arguments.reference, *texts),
            *([arguments.fasttext] if arguments.fasttext else []),
        ],
        outputs=[arguments.output],
    )
    logger.info("%s: %s", label, ", ".join(map(_in_short, rows)))


def _tokenizer(arguments: argparse.Namespace) -> Path:
    return arguments.model.with_name("tokenizer.json")


def _scored(arguments: argparse.Namespace, label: str, described: dict, answers: list[dict], wanted: list):
    """How the model ran, and the table of all scores: fluency by the model, all others by the texts alone."""
    import numpy as np

    from lape.evaluation import scores
    from lape.machine.progress import progress
    from lape.model.running import running
    from lape.model.tokenizer import load_tokenizer

    tokenizer, bos = load_tokenizer(_tokenizer(arguments)), described["bos_token_id"]
    # Where nothing is perturbed, one text can stand for every target: the model reads it once.
    texts = list(dict.fromkeys(answer["output"] for answer in answers))
    ids = {text: tokenizer.encode(text, add_special_tokens=False).ids for text in texts}
    tokens = sum(len(text) + (bos is not None) for text in ids.values())
    sizes = {name: getattr(arguments, name) for name in ("batch_size", "threads")}
    with running(arguments.model, label, tokens, **sizes) as run:
        settings = {"backend": arguments.backend, "longest": described["context_length"], "on_batch": run.bar.update}
        means = run.batches(lambda size: scores.fluency(run.model, list(ids.values()), bos, size, **settings))
    nll = dict(zip(ids, means, strict=True))
    with progress(len(answers), f"{label}: texts", "answer") as bar:
        return run, scores.score_table(
            answers,
            wanted,
            [ids[answer["output"]] for answer in answers],
            np.array([nll[answer["output"]] for answer in answers]),
            arguments.minimum_bytes,
            _further(arguments),
            arguments.fasttext,
            bar.update,
        )


def _further(arguments: argparse.Namespace) -> list[str]:
    """The identifiers beside langdetect and lingua, in one order however they were asked for.

    Raises:
        LapeError: a model of fastText is given, and fastText is not among them.
    """
    if arguments.fasttext and "fasttext" not in arguments.identifiers:
        raise LapeError(f"{arguments.fasttext}: no identifier reads it; add fasttext to --identifiers")
    return [name for name in FURTHER if name in arguments.identifiers]


def _warn_of_unknown(label: str, targets: list[str], known: dict[str, frozenset[str]]) -> None:
    """Warn, in one line, of the targets that an identifier does not know; `known` has what each identifier knows."""
    unknown = {name: [code for code in targets if base_language(code) not in codes] for name, codes in known.items()}
    parts = [f"{name} does not know {', '.join(missing)}" for name, missing in unknown.items() if missing]
    if parts:
        logger.warning("%s: %s; that accuracy is left empty", label, " and ".join(parts))


def _in_short(row: dict) -> str:
    """A row in a few characters, such as "es>zh 85%"."""
    languages = row["language"] if row["language"] == row["target"] else f"{row['language']}>{row['target']}"
    accuracy = row["language_accuracy"]
    return f"{languages} {'?' if accuracy is None else format(accuracy, '.0%')}"
