"""Faults in the files of this machine that a configuration names. They are found while the workflow is planned."""

import os
from collections.abc import Mapping, Sequence

from lape.config import named_models
from lape.errors import LapeError
from lape.model.checkpoint import checkpoint_files
from lape.text.file_patterns import matching_files

# Files of text as they are: a token covers one of their bytes or more.
_PLAIN = (".txt", ".jsonl")
_DOWNLOADS = "results/downloads/"


def check_files(config: dict) -> None:
    """Refuse a run whose checkpoint or text is missing, whose text is too short, or that names another missing file.

    Raises:
        LapeError: the key, and the path that is missing or the budget that cannot be met.
    """
    for name in named_models(config):
        model = config["catalogue"][name]
        if model["source"] == "path":
            checkpoint_files(model["path"])
        elif model["source"] == "gguf":
            _check_file(f"catalogue.{name}.path", model["path"])
    corpus, tokens = config["corpus"], config["tokens"]
    if corpus["source"] == "files":
        for language in config["languages"]:
            files = files_of(corpus["files"]["pattern"], language, "corpus.files.pattern")
            if all(map(os.path.isfile, files)) and not tokens["allow_fewer"]:  # a download may make others
                _check_files_budgets(tokens, language, files, corpus["files"]["document"])
    elif corpus["source"] == "embedded" and not tokens["allow_fewer"]:
        _check_documents(tokens, "the embedded text of a language", corpus["embedded"]["block"])
    for section, key in (("scores", "fasttext"), ("judge", "template"), ("parameter_variation", "launcher")):
        _check_file(f"{section}.{key}", config[section][key])


def files_of(pattern: str | Mapping[str, str], language: str, key: str) -> list[str]:
    """The files of a language that match the pattern of a key, or the path of a file that a download will make.

    Raises:
        LapeError: nothing matches.
    """
    if files := matching_files(pattern, language):
        return files
    path = (pattern if isinstance(pattern, str) else pattern[language]).replace("{language}", language)
    if path.startswith(_DOWNLOADS):
        return [path]
    raise LapeError(f"config {key}: no file matches {path} (language {language}); put files there, or mend the glob")


def _check_files_budgets(tokens: dict, language: str, files: Sequence[str], document: str) -> None:
    """Refuse budgets that a language's files cannot meet, whatever the tokenizer."""
    if document == "file" and all(file.endswith(".txt") for file in files):
        _check_documents(tokens, f"the text of {language}", len(files))
    size, text = sum(map(os.path.getsize, files)), sum(budget - number for budget, number in _chunks(tokens).values())
    if all(file.endswith(_PLAIN) for file in files) and text > size:
        raise LapeError(
            f"config tokens: train {tokens['train']} and valid {tokens['valid']} are more than {language} has: its "
            f"text has {size} bytes, a token one or more; lower them, add text, or set tokens.allow_fewer to true"
        )


def _check_documents(tokens: dict, name: str, documents: int) -> None:
    """Refuse more chunks for evaluation than documents, where one chunk is taken of each."""
    kept, (_, wanted) = round(documents * tokens["valid_share"]), _chunks(tokens)["valid"]
    if tokens["excerpts"] and wanted > kept:
        raise LapeError(
            f"config tokens.valid: {tokens['valid']} are {wanted} chunks of a document each, and {name} has {kept} of "
            f"its {documents} documents for it (tokens.valid_share); lower it, set corpus.files.document to line or "
            "paragraph for .txt files, or tokens.excerpts to false"
        )


def _chunks(tokens: dict) -> dict[str, tuple[int, int]]:
    """Each split's budget, and its number of chunks. One position of a chunk may be BOS."""
    lengths = {"train": tokens["chunk_length"], "valid": tokens["valid_chunk_length"] or tokens["chunk_length"]}
    return {split: (tokens[split], tokens[split] // length) for split, length in lengths.items()}


def _check_file(key: str, path: str | None) -> None:
    if path is not None and not path.startswith(_DOWNLOADS) and not os.path.isfile(path):
        raise LapeError(f"config {key}: {path}: no such file; mend the path")
