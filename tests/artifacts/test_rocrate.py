"""A run as an RO-Crate: nothing is referred to that is not described, and it says what the manifest says."""

import json
from pathlib import Path
from urllib.parse import unquote

from stages import check_refusal
from tampering import MANIFEST

from lape.artifacts.files import read_json, sha256

NEEDED = {  # by the profiles, of each type
    "Dataset": {"name", "description", "datePublished", "license", "conformsTo", "hasPart", "mentions"},
    "CreateAction": {"name", "instrument", "object", "result", "endTime", "startTime", "actionStatus", "description"},
    "SoftwareApplication": {"name", "softwareVersion"},
    "File": {"name", "sha256", "encodingFormat"},
}


def references(value: object) -> set[str]:
    """The identifiers that a value refers to."""
    if isinstance(value, dict):
        return {value["@id"]} if set(value) == {"@id"} else set().union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_a_crate_says_what_the_manifest_says(tampered, lape):
    manifest, folder = read_json(MANIFEST), Path(MANIFEST).parent
    status, messages = lape("export", "rocrate", MANIFEST)
    assert status == 0, messages
    content = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    entities = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(entities) == len(content["@graph"])
    assert references(content["@graph"]) - entities.keys() == {"https://w3id.org/ro/crate/1.1"}
    for entity in entities.values():
        assert NEEDED.get(entity["@type"], set()) <= entity.keys()

    files = {name: entity for name, entity in entities.items() if entity["@type"] == "File"}
    assert {part["@id"] for part in entities["./"]["hasPart"]} == files.keys()
    assert all(sha256(folder / unquote(name)) == entity["sha256"] for name, entity in files.items())
    actions = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert len(actions) == len(manifest["artifacts"])
    for action, (path, entry) in zip(actions, manifest["artifacts"].items(), strict=True):
        results = {str(folder / unquote(one["@id"])): entities[one["@id"]]["sha256"] for one in action["result"]}
        assert results == {path: entry["sha256"], **entry["files"]}
        hashes = [entities[one["@id"]]["sha256"] for one in action["object"]]
        assert hashes == list(entry["inputs"].values())
        assert action["description"] == entry["command"] and action["startTime"] <= action["endTime"]
    outside = {name for name, entity in entities.items() if entity["@type"] == "CreativeWork" and "sha256" in entity}
    assert outside and all(name.startswith("#") for name in outside)


def test_a_manifest_outside_a_run_is_refused(stages, lape):
    Path("config.json").unlink()
    status, messages = lape("export", "rocrate", "manifest.json")
    line = check_refusal(status, messages, "export", "manifest.json", "lies in no run's folder (no config.json)")
    assert line.endswith("; name a run's manifest") and not Path("ro-crate-metadata.json").exists()
