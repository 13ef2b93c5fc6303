"""The text that a run counted on, and whether its terms let others have excerpts of it."""

from dataclasses import dataclass

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.playground.finished_run import FinishedRun


@dataclass(frozen=True)
class Terms:
    """What is known of a text.

    Attributes:
        text: what the text is called.
        licence: None where it is not known.
        shared: whether excerpts may be published; None where that is not known.
    """

    text: str
    licence: str | None = None
    shared: bool | None = None

    def __str__(self) -> str:
        return f"{self.text}: {self.licence or 'its licence is not known to lape; the terms of its source hold'}"


_BENCHMARK = "a benchmark file, which asks never to be trained on"
# Download of the configuration, or dataset of the hub -> what is known of it.
_KNOWN = {
    "wikilingua": Terms("WikiLingua, from BIG-bench", f"CC BY-NC-SA 3.0; {_BENCHMARK}", False),
    "gsm-symbolic": Terms("multilingual GSM-Symbolic", f"MIT; {_BENCHMARK}", False),
    "wikimedia/wikipedia": Terms("Wikipedia (wikimedia/wikipedia of the hub)", "CC BY-SA 3.0 and GFDL", True),
}


def terms_of(run: FinishedRun, stated: str | None = None) -> Terms:
    """The terms of a run's corpora.

    Args:
        run: the run.
        stated: licence that the user knows the text to have, where lape does not know it.

    Raises:
        LapeError: lape knows the licence, and the user states another.
    """
    corpora = [read_json(path, "corpus") for path in sorted(run.folder.glob("corpus/*.json"))]
    names = {_name(corpus["source"], corpus["parameters"]["settings"]) for corpus in corpora}
    found = [_KNOWN.get(name, Terms(name)) for name in sorted(names)] or [Terms("text that the run does not have")]
    # Of several texts the one that lets others have least decides.
    terms = min(found, key=lambda one: (one.shared is not False, one.shared is True))
    if stated is None:
        return terms
    if terms.licence is not None:
        raise LapeError(f"--text-licence: {terms.text} has one ({terms.licence}); leave --text-licence out")
    return Terms(terms.text, stated, True)


def _name(source: str, settings: dict) -> str:
    if source in ("embedded", "archive"):
        return settings["download"]
    return settings["path"] if source == "hub" else "files of whoever made the run"
