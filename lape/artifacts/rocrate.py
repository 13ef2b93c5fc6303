"""The manifest of a run as linked data: an RO-Crate in the profile Process Run Crate.

Specifications: https://w3id.org/ro/crate/1.1 and https://w3id.org/ro/wfrun/process/0.5.
"""

import datetime
import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from lape.artifacts.files import json_text

NAME = "ro-crate-metadata.json"
_CRATE, _PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
_CONTEXT = [f"{_CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"]
_TERMS = "The terms of the run's model and of its text hold for what was made from them."


def crate(manifest: Mapping) -> dict:
    """The content of ro-crate-metadata.json, whose place is the folder of the run.

    Every artifact is what one action of lape made, from files of the run and from files that lie outside. The latter
    are named with their hashes, and are no part of the crate.

    Args:
        manifest: see `lape.artifacts.manifest.build_manifest`.

    Returns:
        {"@context", "@graph"}. The same manifest gives the same content.
    """
    run = Path(next(iter(manifest["files"]))).parent  # the first of the files is the run's configuration
    entities: dict[str, dict] = {}

    def file(path: str, digest: str) -> dict:
        """The reference to a file; its entity is made once."""
        inside = Path(path).is_relative_to(run)
        name = quote(Path(path).relative_to(run).as_posix(), safe="/@") if inside else f"#{quote(path, safe='/@')}"
        entities[name] = {
            "@id": name,
            "@type": "File" if inside else "CreativeWork",
            "name": Path(path).name,
            "sha256": digest,
            "encodingFormat": mimetypes.guess_type(path)[0] or "application/octet-stream",
        }
        return {"@id": name}

    for path, digest in manifest["files"].items():
        file(path, digest)
    for path, entry in manifest["artifacts"].items():
        action = {
            "@id": f"#action/{quote(path, safe='/@')}",
            "@type": "CreateAction",
            "name": f"{entry['artifact']}: {path}",
            "instrument": _software(entry["versions"], entities),
            "object": [file(name, digest) for name, digest in entry["inputs"].items()],
            "result": [file(name, digest) for name, digest in {path: entry["sha256"], **entry["files"]}.items()],
            "endTime": entry["written"],
            "actionStatus": "http://schema.org/CompletedActionStatus",
        }
        if entry["command"]:
            action["description"] = entry["command"]
        if entry["seconds"] is not None:
            begun = datetime.datetime.fromisoformat(entry["written"]) - datetime.timedelta(seconds=entry["seconds"])
            action["startTime"] = begun.isoformat(timespec="seconds")
        entities[action["@id"]] = action
    return {"@context": _CONTEXT, "@graph": [*_about(manifest, entities), *entities.values()]}


def _software(versions: Mapping[str, str | None], entities: dict[str, dict]) -> dict:
    """The reference to lape as an action ran it, with the packages that it ran on."""
    packages = {name: version for name, version in versions.items() if version and name not in ("lape", "git")}
    needed = []
    for name, version in packages.items():
        url = "https://www.python.org/" if name == "python" else f"https://pypi.org/project/{name}/"
        needed.append({"@id": f"{url}#{quote(version)}"})
        about = {"@type": "SoftwareApplication", "name": name, "softwareVersion": version, "url": url}
        entities[needed[-1]["@id"]] = {**needed[-1], **about}
    # One lape may have run on several sets of packages.
    name = f"#lape-{hashlib.sha256(json_text(dict(versions)).encode()).hexdigest()[:12]}"
    entities[name] = {
        "@id": name,
        "@type": "SoftwareApplication",
        "name": "lape",
        "softwareVersion": " ".join(filter(None, (versions["lape"], versions["git"]))),
        "softwareRequirements": needed,
    }
    return {"@id": name}


def _about(manifest: Mapping, entities: Mapping[str, dict]) -> list[dict]:
    """What the crate is: its description of itself, its root, the profile, and the terms."""
    machine, run = manifest["machine"], manifest["config"].get("run", "lape")
    processors = ", ".join([machine["processor"], *machine["gpus"]])
    parts = [{"@id": name} for name, entity in entities.items() if entity["@type"] == "File"]
    actions = [{"@id": name} for name, entity in entities.items() if entity["@type"] == "CreateAction"]
    return [
        {"@id": NAME, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": {"@id": _CRATE}},
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Language-specific neurons: run {run}",
            "description": f"A run of lape on {processors}. Its manifest has the seal {manifest['sha256']}.",
            "datePublished": max((entry["written"] for entry in manifest["artifacts"].values()), default=""),
            "license": {"@id": "#terms"},
            "conformsTo": {"@id": _PROFILE},
            "hasPart": parts,
            "mentions": actions,
        },
        {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {"@id": "#terms", "@type": "CreativeWork", "name": "Terms", "description": _TERMS},
    ]
