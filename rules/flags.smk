"""Command-line form of the configuration, for the rules' shell lines."""

from lape.machine import ranks
from lape.generation.settings import Dose, Setting


def optional(flag, value):
    """A flag and its quoted value, which may begin with a dash, for a shell line; nothing where there is no value."""
    return "" if value is None else f"{flag}={shlex.quote(str(value))}"


def optional_list(flag, paths):
    """The same of several values."""
    return " ".join([flag, *map(shlex.quote, paths)]) if paths else ""


def model_flags(wildcards):
    """Command-line form of the settings that every source of a model shares."""
    model = config["catalogue"][wildcards.model]
    keys = ("dtype", "device", "device_map", "tensor_parallel", "attn_implementation", "quantization")
    flags = [optional(f"--{key.replace('_', '-')}", model.get(key)) for key in keys]
    flags += [f"--{key.replace('_', '-')}" for key in ("compile", "trust_remote_code") if model.get(key)]
    flags.append(optional("--shape", json.dumps(model["shape"]) if "shape" in model else None))
    return " ".join(filter(None, flags))


def counting_flags():
    """How activations are counted."""
    section = config["statistics"]
    flags = [optional(f"--{key.replace('_', '-')}", section[key]) for key in ("batch_size", "memory", "skip_first")]
    flags += [optional("--thresholds", json.dumps(section["thresholds"]))]
    return " ".join(filter(None, [*flags, f"--shards {section['shards']} --backend {section['backend']}"]))


def torchrun(wildcards):
    """What starts the ranks that share the wildcard's model, before the command; nothing for a single process."""
    model = config["catalogue"][wildcards.model]
    number = model.get("tensor_parallel", 1)
    claim = ["lape", "claim", str(number), "--"] if model.get("device") != "cpu" else []
    # What torchrun sets with a warning; a command's --threads decides.
    return " ".join(["OMP_NUM_THREADS=1", *claim, *ranks.launcher(number)]) if number > 1 else ""


def chunk_length(wildcards):
    """Positions in a chunk of a split."""
    tokens = config["tokens"]
    whole = config["catalogue"][wildcards.model].get("chunk_length", tokens["chunk_length"])
    return (wildcards.split == "valid" and tokens["valid_chunk_length"]) or whole


def selection_flags(wildcards):
    """Command-line form of what a method selects by, beside the ratio; a sweep of ratios has no quota."""
    neurons, method = config["neurons"], getattr(wildcards, "method", "lape")
    if method == "lap":
        flags = [f"--probability {neurons['lap_probability']}"]
    else:
        flags = [f"--quantile {neurons['quantile']}"]
    if method == "lave":
        flags.append(f"--negative {neurons['lave_negative']}")
    flags += [f"--minimum-tokens {neurons['minimum_tokens']}", f"--assignment {neurons['assignment']}"]
    flags.append(optional("--entropy-ceiling", neurons["entropy_ceiling"]))
    if hasattr(wildcards, "method"):
        flags.append(optional("--quota", neurons["quota"]))
    return " ".join(filter(None, flags))


def launcher():
    """What starts the fine-tuning's ranks, before the command; nothing for a single process."""
    file = config["parameter_variation"]["launcher"]
    return "" if file is None else f"accelerate launch --config_file={shlex.quote(file)} -m"


def finetuning_flags():
    """Command-line form of how PV fine-tunes."""
    settings = config["parameter_variation"]
    keys = ("epochs", "batch_size", "device_batch_size", "learning_rate", "optimizer", "seed")
    keys += ("max_length", "precision")
    flags = [optional(f"--{key.replace('_', '-')}", settings[key]) for key in keys]
    flags += [f"--{key.replace('_', '-')}" for key in ("gradient_checkpointing", "freeze_embeddings") if settings[key]]
    return " ".join(filter(None, flags))


def sentences_flags(wildcards):
    """The corpus that is split into sentences, and how its documents are divided."""
    if config["sentences"]["source"] != "corpus":
        return ""
    tokens = config["tokens"]
    path = f"results/{config['run']}/corpus/{wildcards.language}.parquet"
    return f"--corpus {shlex.quote(path)} --seed {tokens['seed']} --valid-share {tokens['valid_share']}"


def pairs_flags(wildcards, input):
    """The questions that are paired."""
    headers = [shlex.quote(path) for path in input.texts if path.endswith(".json")]
    questions = config["translation"]["corpora"][wildcards.corpus]["source"] == "questions"
    return f"--questions {' '.join(headers)}" if questions else ""


def expert_number():
    """Units of each ranking, as many as the largest setting takes."""
    section = config["expert_units"]
    return max([2 * section["size"], *(-(-size // 2) for size in section["sizes"])])


def selected_flags(wildcards, input):
    """The same, as the command takes them."""
    headers = [path for path in input.selected if path.endswith(".json")]
    return " ".join(f"{flag} {shlex.quote(path)}" for flag, path in zip(selected_input(wildcards), headers))


def sampling_flags(wildcards):
    """How the unconditional texts are sampled."""
    section, model = config["expert_units"], config["catalogue"][wildcards.model]
    keys = ("seeds", "max_new_tokens", "temperature", "top_k", "top_p")
    flags = [optional(f"--{key.replace('_', '-')}", section[key]) for key in keys]
    return " ".join(filter(None, [*flags, optional("--prompt-token", model.get("prompt_token"))]))


def perturbing_flags(wildcards, input):
    """The same, as the command takes them."""
    headers = [path for path in input.perturbing if path.endswith(".json")]
    return " ".join(f"{flag} {shlex.quote(path)}" for flag, path in zip(("--neurons", "--values"), headers))


def dose_flag(wildcards):
    """The configured dose, for a setting that steers and names none."""
    setting = Setting.parse(wildcards.setting, Dose())
    return optional("--dose", config["steering"]["dose"] if setting.dose and "@" not in wildcards.setting else None)


def prompt_flags(wildcards):
    """How a question becomes the model's prompt."""
    section, chat = config["generation"], config["catalogue"][wildcards.model].get("chat", False)
    flags = [optional("--template", section["chat_template" if chat else "template"]), "--chat" * chat]
    if wildcards.prompt == "suffix":
        suffixes = {language: section["suffixes"][language] for language in languages_of(wildcards.model)}
        flags.append(optional("--suffixes", json.dumps(suffixes, ensure_ascii=False)))
    return " ".join(filter(None, flags))
