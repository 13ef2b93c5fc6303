"""The configuration as flags of commands, for the shell lines of the rules."""

import json
import shlex
from collections.abc import Iterable, Sequence

from lape.config import model_languages, model_of
from lape.generation.settings import Setting
from lape.items.variants import settings
from lape.machine import ranks
from lape.text.language_codes import entry_of
from lape.workflow.inputs import perturbing_stems, selected_stems


def optional(flag: str, value: object) -> str:
    """A flag and its quoted value, which may begin with a dash; empty where there is no value."""
    return "" if value is None else f"{flag}={shlex.quote(str(value))}"


def optional_list(flag: str, values: Sequence[str]) -> str:
    """A flag and its quoted values; empty where there are none."""
    return " ".join([flag, *map(shlex.quote, values)]) if values else ""


class Flags:
    """Flags of a configuration, as text.

    Methods that take wildcards are called for each job. The others give flags that hold for all jobs.
    """

    def __init__(self, config: dict):
        self._config = config

    def model(self, wildcards) -> str:
        """The settings of a model that every source of models has."""
        model = self._entry(wildcards)
        keys = ("dtype", "device", "device_map", "tensor_parallel", "attn_implementation", "quantization")
        switches = _switches(model, ("compile", "trust_remote_code"))
        shape = json.dumps(model["shape"]) if "shape" in model else None
        return _joined([*_options(model, keys), *switches, optional("--shape", shape)])

    def torchrun(self, wildcards) -> str:
        """The words before a command that start the ranks of the wildcard's model; empty for a single process."""
        model = self._entry(wildcards)
        number = model.get("tensor_parallel", 1)
        claim = ["lape", "claim", str(number), "--"] if model.get("device") != "cpu" else []
        # Without OMP_NUM_THREADS, torchrun sets it with a warning. The command's --threads decides in any case.
        return " ".join(["OMP_NUM_THREADS=1", *claim, *ranks.launcher(number)]) if number > 1 else ""

    def corpus(self, wildcards, input) -> str:
        """The source of a corpus, and the settings by which its documents are read and checked.

        Where the configuration does not set it, documents of the hub that are in another language are dropped, as they
        are too many for a person to check, and those of other sources are kept.
        """
        corpus = settings(self._config, wildcards.variant)["corpus"]
        source = dict(corpus[corpus["source"]])
        exclude = source.pop("exclude")
        source |= source.pop("languages", {}).get(wildcards.language, {})  # what the hub has in another place
        return _joined(
            [
                f"--source {corpus['source']} --settings {shlex.quote(json.dumps(source))}",
                optional("--file", input.text[0] if corpus["source"] in ("embedded", "archive") else None),
                f"--language-check {corpus['language_check'] or ('drop' if corpus['source'] == 'hub' else 'keep')}",
                *_options(corpus, ("identifier", "minimum_characters", "other_language")),
                optional("--exclude", exclude),
            ]
        )

    def chunk_length(self, wildcards) -> int:
        """The number of positions in a chunk of the wildcard's split."""
        tokens = settings(self._config, wildcards.model)["tokens"]
        whole = self._entry(wildcards).get("chunk_length", tokens["chunk_length"])
        return (wildcards.split == "valid" and tokens["valid_chunk_length"]) or whole

    def tokens(self, wildcards) -> str:
        """The settings by which a model's chunks of a split are drawn from a corpus, beside their length and BOS."""
        tokens, split = settings(self._config, wildcards.model)["tokens"], wildcards.split
        flags = [f"--budget {tokens[split]} --seed {tokens['seed']} --valid-share {tokens['valid_share']}"]
        flags.append("--allow-fewer" * tokens["allow_fewer"])
        return _joined([*flags, "--excerpts" * (split == "valid" and tokens["excerpts"])])

    def bos(self, section: str, wildcards) -> str:
        """Whether a text of the wildcard's model begins with BOS; empty where its tokenizer decides."""
        own = self._entry(wildcards).get("bos")
        wanted = settings(self._config, wildcards.model)[section]["bos"] if own is None else own
        return {True: "--bos", False: "--no-bos", None: ""}[wanted]

    def counting(self, wildcards) -> str:
        """The settings by which activations are counted."""
        section = settings(self._config, wildcards.model)["statistics"]
        thresholds = optional("--thresholds", json.dumps(section["thresholds"]))
        options = _options(section, ("batch_size", "memory", "skip_first"))
        return _joined([*options, thresholds, f"--shards {section['shards']} --backend {section['backend']}"])

    def selection(self, wildcards) -> str:
        """The settings by which a method selects neurons. A sweep has ratios of its own, and no quota."""
        neurons, method = settings(self._config, wildcards.model)["neurons"], getattr(wildcards, "method", "lape")
        if method == "lap":
            flags = [f"--probability {neurons['lap_probability']}"]
        else:
            flags = [f"--quantile {neurons['quantile']}"]
        if method == "lave":
            flags.append(f"--negative {neurons['lave_negative']}")
        flags += [f"--minimum-tokens {neurons['minimum_tokens']}", f"--assignment {neurons['assignment']}"]
        flags.append(optional("--entropy-ceiling", neurons["entropy_ceiling"]))
        if hasattr(wildcards, "method"):
            flags += [f"--ratio {neurons['ratio']}", optional("--quota", neurons["quota"])]
        return _joined(flags)

    def launcher(self) -> str:
        """The words before the command that start the ranks of the fine-tuning; empty for a single process."""
        file = self._config["parameter_variation"]["launcher"]
        return "" if file is None else f"accelerate launch --config_file={shlex.quote(file)} -m"

    def finetuning(self) -> str:
        """The settings by which PV fine-tunes."""
        settings = self._config["parameter_variation"]
        keys = ("epochs", "batch_size", "device_batch_size", "learning_rate", "optimizer", "seed")
        keys += ("max_length", "precision")
        steps = self._config["experiments"]["pv_learning_curve"]["steps"]
        switches = _switches(settings, ("gradient_checkpointing", "freeze_embeddings"))
        return _joined([*_options(settings, keys), *switches, optional_list("--keep-steps", list(map(str, steps)))])

    def sentences(self, wildcards) -> str:
        """The corpus that is split into sentences, and the division of its documents; empty for other sources."""
        if self._config["sentences"]["source"] != "corpus":
            return ""
        tokens = self._config["tokens"]
        path = f"results/{self._config['run']}/corpus/{wildcards.language}.parquet"
        return f"--corpus {shlex.quote(path)} --seed {tokens['seed']} --valid-share {tokens['valid_share']}"

    def pairs(self, wildcards, input) -> str:
        """The questions that are paired; empty where a corpus pairs something else."""
        headers = [path for path in input.texts if path.endswith(".json")]
        questions = self._config["translation"]["corpora"][wildcards.corpus]["source"] == "questions"
        return optional_list("--questions", headers) if questions else ""

    def accuracy(self, wildcards) -> str:
        """The settings by which a task's choices are scored."""
        task, section = self._config["tasks"][wildcards.task], self._config["experiments"]["downstream"]
        return _joined([*_options(task, ("template", "score")), *_options(section, ("batch_size",))])

    def expert_number(self) -> int:
        """The number of units in the top: so many that the largest setting finds enough."""
        section = self._config["expert_units"]
        return max([2 * section["size"], *(-(-size // 2) for size in section["sizes"])])

    def sampling(self, wildcards) -> str:
        """The settings by which unconditional texts are sampled."""
        section, model = self._config["expert_units"], self._entry(wildcards)
        keys = ("seeds", "max_new_tokens", "temperature", "top_k", "top_p")
        return _joined([*_options(section, keys), optional("--prompt-token", model.get("prompt_token"))])

    def selected(self, wildcards, input) -> str:
        """The headers of the artifacts with which a setting of the texts overwrites units, each after its option."""
        return _headers(selected_stems(wildcards), input.selected)

    def perturbing(self, wildcards, input) -> str:
        """The headers of the artifacts with which a setting of the answers perturbs, each after its option."""
        return _headers(perturbing_stems(wildcards), input.perturbing)

    def dose(self, wildcards) -> str:
        """The configured dose, for a setting that steers and names no dose; empty for other settings."""
        steers = "@" not in wildcards.setting and Setting.parse(wildcards.setting).dose is not None
        return optional("--dose", self._config["steering"]["dose"] if steers else None)

    def prompt(self, wildcards) -> str:
        """The settings by which a question becomes the model's prompt."""
        section, entry = self._config["generation"], self._entry(wildcards)
        chat = entry.get("chat", False)
        flags = [optional("--template", section["chat_template" if chat else "template"]), "--chat" * chat]
        if chat and (chat_arguments := entry.get("chat_arguments")):
            flags.append(optional("--chat-arguments", json.dumps(chat_arguments, ensure_ascii=False)))
        if wildcards.prompt == "suffix" or Setting.parse(wildcards.setting).kind == "prompted":
            languages = model_languages(self._config, wildcards.model)
            suffixes = {code: text for code in languages if (text := entry_of(section["suffixes"], code))}
            flags.append(optional("--suffixes", json.dumps(suffixes, ensure_ascii=False)))
        return _joined(flags)

    def _entry(self, wildcards) -> dict:
        """The catalogue's entry of the wildcard's model, which a variant shares."""
        return self._config["catalogue"][model_of(wildcards.model)]


def _options(section: dict, keys: Iterable[str]) -> list[str]:
    return [optional(f"--{key.replace('_', '-')}", section.get(key)) for key in keys]


def _switches(section: dict, keys: Iterable[str]) -> list[str]:
    return [f"--{key.replace('_', '-')}" for key in keys if section.get(key)]


def _headers(stems: dict[str, str], files: Sequence[str]) -> str:
    headers = [path for path in files if path.endswith(".json")]
    return " ".join(f"{option} {shlex.quote(path)}" for option, path in zip(stems, headers, strict=True))


def _joined(flags: Iterable[str]) -> str:
    return " ".join(filter(None, flags))
