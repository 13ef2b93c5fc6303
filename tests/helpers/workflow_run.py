"""The workflow on a tiny model, in a copy of the repository that a test may edit, break and run again."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from tiny_data import ROOT, WORDS, make_model, make_task, make_text, make_texts

# What a run reads; the copy keeps modification times, as Snakemake compares them.
PARTS = ("Snakefile", "rules", "envs", "config", "profiles", "csrc", "lape")
ENVIRONMENT = Path(sys.executable).parent
LANGUAGES = ("fr", "ja")
# They hold times, and so differ between any two runs.
TIMED = {"manifest.json", "report.html", "index.html"}
CONFIG = {
    "run": "tiny",
    "models": ["tiny"],
    "languages": list(LANGUAGES),
    "catalogue": {
        name: {"source": "path", "path": folder, "device": "cpu", "dtype": "float32"}
        for name, folder in (("tiny", "model"), ("other", "other"))
    },
    "corpus": {"source": "files", "language_check": "off", "files": {"pattern": "texts/{language}/*"}},
    "tasks": {
        "multiemo": {"languages": []},  # it would be downloaded
        "next_passage": {"languages": []},  # its texts are one sentence
        "mood": {
            "source": "files",
            "pattern": "moods/{language}.jsonl",
            "languages": ["fr", "en"],
            "number": 4,
            "template": "{question} :{choice}",
        },
    },
    "tokens": {"chunk_length": 16, "train": 512, "valid": 256, "valid_chunk_length": 16, "excerpts": False},
    "statistics": {"shards": 4, "batch_size": 2, "thresholds": [0.1]},
    "neurons": {"ratio": 0.1},
    "instructions": {"examples": 6},
    "parameter_variation": {"epochs": 1, "batch_size": 2, "device_batch_size": 2, "max_length": 512},
    "stability": {"resamples": 20},
    "questions": {"number": 4, "pattern": "asked/{language}.txt"},
    "generation": {"max_new_tokens": 6, "suffixes": {"fr": " Oui ?", "ja": "日本", "en": " Yes?"}},
    "scores": {"minimum_bytes": 1000},  # too short for an identifier, which takes seconds to load
    "sentences": {"number": 8, "held_out": 4, "maximum_characters": 5000},  # a text is one sentence
    "expert_units": {"max_length": 32, "size": 5, "sizes": [4], "seeds": 3, "max_new_tokens": 6},
    "translation": {"template": "{source} =", "number": 2, "max_new_tokens": 6},
    "experiments": {
        "deactivation_by_model": {"more_models": ["other"]},
        "control_draws_by_method": {"methods": ["lape", "pv"], "draws": 4},
        "pv_learning_curve": {"steps": [1]},
        "deactivation_by_ratio": {"language": "fr", "ratios": [0.05, 0.2]},
        "answers_steered": {"more_models": []},
        "dose_response": {"doses": ["add-prompt-2-0.5"]},
        "steering_methods": {"pushes": ["0.5-1"]},
        "robustness": {
            "variants": {
                **dict.fromkeys(("seed-1", "seed-2", "no-bos", "maths", "on-maths")),
                "text": {"tokens": {"seed": 1}, "corpus": {"minimum_characters": 2}},
            }
        },
    },
}


class Workspace:
    """A folder with the workflow's files, the tiny model, tiny texts and their configuration."""

    def __init__(self, folder: Path, programs: Path = ENVIRONMENT):
        """The `lape` that jobs call is in the folder of programs, or else the environment's."""
        self.folder, self.programs = folder, programs
        self.results = folder / "results" / CONFIG["run"]

    @classmethod
    def create(cls, folder: Path, programs: Path = ENVIRONMENT, source: Path = ROOT) -> "Workspace":
        """Copy a working tree of the repository into a new folder; nothing has been run there."""
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            copy = shutil.copytree if (source / part).is_dir() else shutil.copy2
            copy(source / part, folder / part)
        make_model(folder / "model")
        make_model(folder / "other", seed=1)
        make_texts(folder / "texts", words=150)
        make_task(folder / "moods")
        (folder / "asked").mkdir()
        for language in WORDS:
            questions = (make_text(language, 3 + number % 4, 50 + number) for number in range(6))
            (folder / "asked" / f"{language}.txt").write_text("\n".join(questions), encoding="utf-8")
        workspace = cls(folder, programs)
        workspace.configure()
        return workspace

    def copy(self, folder: Path, programs: Path | None = None) -> "Workspace":
        """The same with its results and Snakemake's records, elsewhere; with other programs, if any are named."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder, programs or self.programs)

    def configure(self, **sections: dict | list) -> None:
        """Write the configuration, with other values for some keys of some sections."""
        merged = {
            name: CONFIG[name] | values if isinstance(CONFIG.get(name), dict) else values
            for name, values in sections.items()
        }
        config = CONFIG | merged
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def command(self, *arguments: str) -> dict:
        """Arguments of `subprocess` that start Snakemake here, with the `lape` of this folder."""
        path = os.pathsep.join([str(self.programs), str(ENVIRONMENT), os.environ.get("PATH", "")])
        return {
            "args": ["snakemake", "--configfile", "tiny.yaml", *arguments],
            "cwd": self.folder,
            "env": {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder)},
            "text": True,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }

    def snakemake(self, *arguments: str, status: int = 0) -> str:
        """Run Snakemake to its end; returns what it printed."""
        done = subprocess.run(**self.command(*arguments))
        assert done.returncode == status, done.stdout
        return done.stdout

    def run(self, *targets: str, cores: int = 2) -> str:
        """Make targets, or everything."""
        return self.snakemake("--cores", str(cores), "--", *targets)

    def pending(self, *targets: str) -> dict[str, int]:
        """The rules that a run would execute, and how many jobs of each; empty where nothing is to be done."""
        output = self.snakemake("--dry-run", *targets)
        if "Nothing to be done" in output:
            return {}
        stats = output.split("Job stats:")[1].split("\n\n")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", stats, re.MULTILINE)}
        assert jobs.pop("total") == sum(jobs.values())
        for target in ("all", "paper"):
            jobs.pop(target, None)
        return jobs

    def artifacts(self) -> dict[str, Path]:
        """Every file of the run but logs and Snakemake's marks in folders, by its path below the run's folder."""
        # os.walk passes over folders that a job removes meanwhile.
        paths = [
            Path(folder, name)
            for folder, _, names in os.walk(self.results)
            for name in names
            if name != ".snakemake_timestamp"
        ]
        files = {path.relative_to(self.results).as_posix(): path for path in paths}
        hidden = ".snakemake_timestamp"
        return {name: path for name, path in files.items() if not name.startswith("logs/") and path.name != hidden}

    def times(self) -> dict[str, int]:
        """When each artifact was written, in nanoseconds."""
        return {name: path.stat().st_mtime_ns for name, path in self.artifacts().items()}

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each artifact."""
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in self.artifacts().items()}

    def check_same(self, other: "Workspace") -> None:
        """Assert that two complete runs have the same bytes, but for the times in manifest and report."""
        ours, theirs = self.hashes(), other.hashes()
        assert set(ours) == set(theirs)
        assert {name for name in ours if ours[name] != theirs[name]} <= TIMED
        assert self._untimed_manifest() == other._untimed_manifest()

    def _untimed_manifest(self) -> dict:
        manifest = json.loads((self.results / "manifest.json").read_text(encoding="utf-8"))
        for entry in manifest["artifacts"].values():
            del entry["written"], entry["seconds"]
        del manifest["sha256"], manifest["files"]["results/tiny/report.html"]
        return manifest
