"""Upload a folder that `lape export` wrote to the hub: a neuron set as a dataset, a checkpoint as a model."""

import os
from collections.abc import Mapping
from pathlib import Path

from lape.artifacts.files import read_json, sha256
from lape.artifacts.hub_errors import explain
from lape.errors import LapeError
from lape.export.neuron_set import HEADER, REPOSITORY, data_file

# Kind of a folder, as its header names it -> kind of repository.
_REPOSITORIES = {"neuron_set": "dataset", "checkpoint": "model"}
# The card is its author's to edit.
_CARD = "README.md"


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload what the header of a folder names, into a repository that is made where it is missing.

    The token of the hub is taken from the environment (HF_TOKEN) and from nowhere else.

    Args:
        folder: that `lape export set` or `lape export checkpoint` wrote.
        name: of the repository, such as "owner/name".
        private: make a repository that others do not see. One that is there stays as it is.

    Returns:
        the address of the repository.

    Raises:
        LapeError: the folder is no export or has changed, it has texts that must not be published, there is no token,
            or the hub refuses it.
    """
    from huggingface_hub import HfApi

    header = read_json(folder / HEADER)
    kind = _REPOSITORIES.get(header.get("artifact"))
    if kind is None:
        raise LapeError(f"{folder / HEADER}: is no header of a neuron set or a checkpoint; push what export wrote")
    if not REPOSITORY.fullmatch(name):
        raise LapeError(f"{name!r} is no name of a repository; write owner/name")
    _check_files(folder, header["outputs"])
    if kind == "dataset":
        _check_texts(folder, header)
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise LapeError("HF_TOKEN: is not set; set it to a token of the hub that may write")
    hub = HfApi(token=token)
    try:
        address = hub.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            allow_patterns=[HEADER, *header["outputs"]],
            delete_patterns="data/*",  # tables of an earlier set
            commit_message=f"lape: {header['artifact'].replace('_', ' ')} of {header['model']}",
        )
    except Exception as error:  # exceptions of the hub and of two libraries for its protocol
        reason, remedy = explain(error)
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            reason, remedy = "HF_TOKEN is refused", "set it to a token that may write there"
        remedy = remedy or "check the name and the network, and push again"
        raise LapeError(f"{name}: cannot be pushed to the hub ({reason}); {remedy}") from error
    return str(address)


def _check_files(folder: Path, outputs: Mapping[str, str]) -> None:
    for name, digest in outputs.items():
        if name != _CARD and sha256(folder / name) != digest:
            raise LapeError(f"{folder / name}: changed since {HEADER} was written; export anew")


def _check_texts(folder: Path, header: Mapping) -> None:
    """Fail where the texts that neurons fire on are among the files, unless they are known to be free for others."""
    contexts = [name for name in header["outputs"] if name.startswith(data_file("contexts_").removesuffix(".parquet"))]
    text = header["text"]
    if contexts and not text["shared"]:
        reason = text["licence"] or "an unknown licence"
        remedy = "export without --contexts" + ("" if text["licence"] else ", or state the licence by --text-licence")
        raise LapeError(f"{folder / contexts[0]}: has excerpts of {text['name']} ({reason}); {remedy}")
