"""What each command costs, from its arguments and the shape of its model.

Every command that does much work has one function here; `COSTS` lists them. Numbers that only a finished artifact could
tell are assumed. `ASSUMPTIONS` says so to the user.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lape.artifacts.files import read_json
from lape.evaluation.perplexity import LOGITS_IN_MEMORY
from lape.generation.settings import Setting
from lape.model.batches import TOKENS_PER_PASS
from lape.plan.jobs import Job
from lape.plan.shape import Shape

# Assumed numbers of artifacts that are not made yet: questions and instructions per language, tokens per prompt and per
# sentence, bytes per document; tokens per question of lm-evaluation-harness, with its choices.
QUESTIONS, EXAMPLES, PROMPT, SENTENCE, DOCUMENT, HARNESS = 80, 52_000, 48, 48, 3_000, 200
ASSUMPTIONS = (
    f"{QUESTIONS} questions and {EXAMPLES:,} instructions per language where neither file nor setting tells; "
    f"{PROMPT} tokens per prompt, {HARNESS} per question of lm-evaluation-harness and {SENTENCE} per sentence; "
    f"{DOCUMENT:,} bytes per document; "
    "texts are as long as max_new_tokens allows"
)
_PORTION = 3e8  # bytes of text and tokens that a job holds at a time
# Seconds on one core of a server: per token, per answer whose language is told,
# per value in a selection, per value in average precision; and for the explorer's page, most of it for its libraries.
_TOKEN, _ANSWER, _SELECTED, _RANKED, _PAGE = 3e-6, 20e-3, 40e-9, 1.7e-9, 6.0
# Identifier -> seconds on one core per document (bench/README.md), and whether several cores share the work.
_DETECTED = {"fasttext": (0.2e-3, False), "heliport": (0.2e-3, False), "langdetect": (2.5e-3, True)}
_DETECTED["lingua"] = (1.5e-3, True)


@dataclass(frozen=True)
class Cost:
    """What a job takes on any machine.

    Attributes:
        tokens: number of tokens that pass through the model, or that are written.
        flops: model FLOPs.
        traffic: bytes of weights and caches that the passes read.
        layers: number of passes through a layer, however small.
        loaded: bytes of weights that the job loads.
        cpu: seconds on one core, beside the model.
        network: bytes that the job fetches.
        disk: bytes that the job leaves on disk.
        weights: bytes of the weights in memory, which several devices share.
        activations: bytes of memory beside the weights.
    """

    tokens: float = 0
    flops: float = 0
    traffic: float = 0
    layers: float = 0
    loaded: float = 0
    cpu: float = 0
    network: float = 0
    disk: float = 0
    weights: float = 0
    activations: float = 0


@dataclass(frozen=True)
class Loaded:
    """A model as a job loads it: shape, bytes per weight, bytes per activation, attention, and kind of device."""

    shape: Shape
    weight_bytes: float
    itemsize: int
    eager: bool
    device: str

    @property
    def weights(self) -> float:
        """Bytes of all weights."""
        return self.shape.parameters * self.weight_bytes

    def activations(self, tokens: float, length: float, head: bool = False) -> float:
        """Bytes of the activations of a pass of `tokens` tokens, in chunks of `length`, with or without logits."""
        shape = self.shape
        widest = 6 * shape.hidden + shape.attention + shape.cache + 3 * shape.widest
        scores = tokens * length * shape.heads * (self.itemsize + 4) if self.eager else 0
        logits = min(LOGITS_IN_MEMORY, tokens * shape.vocabulary) * (self.itemsize + 4) if head else 0
        return tokens * widest * self.itemsize + scores + logits


class Sizes:
    """How many rows and tokens artifacts hold, whether they are finished or jobs will make them."""

    def __init__(self, jobs: Sequence[Job]):
        self._makers = {output: job for job in jobs for output in job.outputs}

    def maker(self, path: str | Path) -> Job | None:
        """The job that will make a file; None for a finished file."""
        return self._makers.get(str(path))

    def tokens(self, header: Path) -> tuple[int, int]:
        """Number of positions and chunk length of a split's tokens."""
        job = self.maker(header)
        if job is None:
            found = read_json(header, "tokens")
            return found["chunks"] * found["parameters"]["chunk_length"], found["parameters"]["chunk_length"]
        length = job.arguments.chunk_length
        return job.arguments.budget // length * length, length

    def neurons(self, header: Path, model: Loaded) -> int:
        """Number of neurons in a table; of a table that is not made yet, what its command may select at most."""
        job = self.maker(header)
        if job is None:
            return read_json(header, "neurons")["selected"]
        while job.command in ("select_ap", "control") and self.maker(job.arguments.neurons):
            job = self.maker(job.arguments.neurons)
        return round(getattr(job.arguments, "ratio", 0.01) * model.shape.neurons)

    def rows(self, header: Path) -> int:
        """Number of rows in the file of lines beside a header."""
        job = self.maker(header)
        if job is None:
            with open(header.with_suffix(".jsonl"), "rb") as file:
                return sum(1 for _ in file)
        return _planned_rows(job, self)


def _planned_rows(job: Job, sizes: Sizes) -> int:
    """Number of lines that a job will write."""
    arguments = job.arguments
    if job.command == "generate":
        # A setting's own language is one of the languages that are asked.
        languages = [path.stem for path in arguments.questions]
        pairs = Setting.parse(arguments.setting).pairs(languages)
        questions = {path.stem: sizes.rows(path) for path in arguments.questions}
        return sum(questions[language] for language, _ in pairs)
    if job.command == "sample":
        return len(arguments.languages) * arguments.seeds
    if job.command == "translate":
        return sum(sizes.rows(path) for path in arguments.pairs)
    if job.command == "sentences":
        return arguments.number + arguments.held_out
    if job.command == "pairs":
        questions = min(map(sizes.rows, arguments.questions)) if arguments.questions else arguments.number
        return min(questions or QUESTIONS, arguments.number or QUESTIONS)
    if job.command == "task":
        return arguments.number or _lines(arguments.settings, arguments.language) or QUESTIONS
    if job.command == "instructions":
        return arguments.examples or _lines(arguments.settings, arguments.language) or EXAMPLES
    lines = _lines(arguments.settings, arguments.language) or QUESTIONS
    return min(arguments.number or lines, lines)


def _lines(settings: dict | str, language: str) -> int:
    """Number of lines in the files that a setting's pattern names; 0 without files."""
    from lape.text.file_patterns import matching_files

    settings = json.loads(settings) if isinstance(settings, str) else settings
    pattern = settings.get("pattern")
    files = matching_files(pattern, language) if pattern else []
    plain = [path for path in files if str(path).endswith((".txt", ".jsonl"))]
    return sum(bool(line.strip()) for path in plain for line in Path(path).read_bytes().splitlines())


def _pass(
    model: Loaded, tokens: float, length: float, batch: float, head: bool, disk: float = 0, cpu: float = 0
) -> Cost:
    """The cost of a job that reads text once, in batches of a number of tokens."""
    passes = -(-tokens // max(batch, 1))
    return Cost(
        tokens=tokens,
        flops=model.shape.flops(tokens, length, head),
        traffic=passes * model.weights,
        layers=passes * model.shape.layers,
        loaded=model.weights,
        cpu=cpu,
        disk=disk,
        weights=model.weights,
        activations=model.activations(min(batch, tokens), length, head),
    )


def _statistics(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    tokens, length = sizes.tokens(a.tokens)
    pass_tokens = max(TOKENS_PER_PASS[model.device], length)
    batch = pass_tokens if a.batch_size is None else a.batch_size * length
    neurons = model.shape.neurons
    # A neuron takes 8 bytes for its count, 16 for its sum, 16 for its sum of squares, and 8 per threshold, in every
    # shard and in the sum of the shards.
    sums = neurons * 8 * (5 + len(a.thresholds))
    if a.counted:
        return Cost(disk=sums, activations=3 * sums)
    share = 1 if a.job is None else 1 / a.jobs
    disk = sums * (a.shards * share + (a.job is None))
    cost = _pass(model, tokens * share, length, batch, head=False, disk=disk)
    return Cost(**{**cost.__dict__, "activations": cost.activations + 3 * sums})


# Bytes of one neuron: its contexts in memory and in one language's file, and what it writes.
_RECORDED, _CONTEXTS, _WORDS_WRITTEN = 6_000, 9_000, 700


def _contexts(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    (tokens, length), neurons = sizes.tokens(a.tokens), sizes.neurons(a.neurons, model)
    tokens = min(tokens, a.budget or tokens)
    batch = max(TOKENS_PER_PASS[model.device], length)
    cost = _pass(model, tokens, length, batch, head=False, disk=neurons * _CONTEXTS)
    # How often each neuron fires on each different token of the text: on a device, in memory, and for a while on disk.
    fired = 4 * neurons * min(tokens / 4, model.shape.vocabulary)
    return Cost(**{**cost.__dict__, "activations": cost.activations + 3 * (neurons * _RECORDED + fired)})


def _vocabulary_effects(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    neurons, shape = sizes.neurons(a.neurons, model), model.shape
    return Cost(
        flops=2 * neurons * shape.hidden * shape.vocabulary,
        loaded=model.weights,
        disk=neurons * _WORDS_WRITTEN,
        weights=model.weights,
        activations=64 * shape.vocabulary * 4,
    )


def _perplexity(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    splits = [sizes.tokens(path) for path in a.tokens]
    tokens, length = sum(tokens for tokens, _ in splits), max(length for _, length in splits)
    return _pass(model, tokens, length, a.batch_size * length, head=True, disk=45 * tokens / length)


def _draws(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    tokens, length = sizes.tokens(a.tokens)
    tokens *= a.draws
    return _pass(model, tokens, length, a.batch_size * length, head=True, disk=45 * tokens / length)


def _accuracy(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    questions, job = sum(map(sizes.rows, a.task)), sizes.maker(a.task[0])
    source = read_json(a.task[0], "task")["source"] if job is None else job.arguments.source
    length = HARNESS if source == "harness" else PROMPT
    # The head is computed for the choices' tokens alone.
    return _pass(model, questions * length, length, a.batch_size * length, head=False, disk=questions * 120)


def _written(model: Loaded, rows: int, prompt: int, new: int, batch: int) -> Cost:
    """The cost of a job that writes texts. A pass gives one token for each text of a batch."""
    batch = -(-min(batch, rows) // 8) * 8
    passes, shape = -(-rows // batch) * new, model.shape
    cache = shape.layers * shape.cache * model.itemsize * (prompt + new)
    tokens = rows * (prompt + new)
    return Cost(
        tokens=tokens,
        flops=shape.flops(tokens, prompt + new, head=True),
        # A pass of one token per text reads every weight, and on average half of the longest cache.
        traffic=passes * (model.weights + batch * cache / 2),
        layers=passes * shape.layers,
        loaded=model.weights,
        disk=rows * (6 * new + 400),
        weights=model.weights,
        activations=batch * cache + model.activations(batch * prompt, prompt, head=True),
    )


def _generate(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    rows = _planned_rows(sizes.maker(a.output), sizes)
    return _written(model, rows, PROMPT, a.max_new_tokens, a.batch_size)


def _sample(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    return _written(model, len(a.languages) * a.seeds, 1, a.max_new_tokens, a.batch_size)


def _translate(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    return _written(model, sum(map(sizes.rows, a.pairs)), 2 * PROMPT, a.max_new_tokens, a.batch_size)


def _score(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    job, rows = sizes.maker(a.generations), sizes.rows(a.generations)
    new = job.arguments.max_new_tokens if job else read_json(a.generations)["parameters"]["max_new_tokens"]
    length = PROMPT + new
    return _pass(model, rows * length, length, a.batch_size * length, True, disk=rows * 120, cpu=rows * _ANSWER)


def _responses(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    sentences, length = sum(map(sizes.rows, a.sentences)), min(SENTENCE, a.max_length)
    disk = model.shape.units * sentences * (4 if a.storage == "float32" else 2)
    return _pass(model, sentences * length, length, a.batch_size * length, head=False, disk=disk)


def _embed(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    sentences = sizes.rows(a.sentences)
    disk = sentences * (model.shape.layers + 1) * model.shape.hidden * 4
    return _pass(model, sentences * PROMPT, PROMPT, a.batch_size * PROMPT, head=False, disk=disk)


def _finetune(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    shape, examples = model.shape, sizes.rows(a.instructions)
    # Every example is taken to be as long as the longest that is allowed, which is an upper bound.
    tokens = examples * a.epochs * a.max_length
    trained = shape.matrices if a.freeze_embeddings else shape.parameters
    passes = 4 if a.gradient_checkpointing else 3  # backward costs two forward passes
    kept = 1 if a.gradient_checkpointing else shape.layers
    batch = min(a.device_batch_size, examples) * a.max_length
    return Cost(
        tokens=tokens,
        flops=passes * shape.flops(tokens, a.max_length, head=True),
        traffic=examples * a.epochs / max(a.batch_size, 1) * 28 * trained,
        layers=passes * shape.layers * examples * a.epochs / max(a.device_batch_size, 1),
        loaded=model.weights,
        disk=4 * shape.matrices * (1 + len(a.keep_steps)),
        # Weights in float32; for each trained parameter a gradient and two moments besides.
        weights=4 * shape.parameters + 12 * trained,
        activations=kept * model.activations(batch, a.max_length) + 4 * batch * shape.vocabulary,
    )


def _model(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    converted = bool(a.gguf or a.pickled)
    fetched = model.weights if a.hub else 0
    return Cost(
        network=fetched,
        loaded=model.weights * converted,
        disk=model.weights * (bool(a.hub) + converted),
        cpu=model.weights / 1e9,  # hashes every file
        weights=2 * model.weights * converted,
    )


def _tokens(a: argparse.Namespace, model: Loaded | None, sizes: Sizes) -> Cost:
    disk = a.budget * 4 + a.budget / a.chunk_length * 8
    return Cost(tokens=a.budget, cpu=a.budget * _TOKEN, disk=disk, activations=_PORTION)


def _corpus(a: argparse.Namespace, model: Loaded | None, sizes: Sizes) -> Cost:
    settings = json.loads(a.settings) if isinstance(a.settings, str) else a.settings
    if a.source != "hub" or not settings.get("documents"):
        return Cost(cpu=1.0)
    documents = settings["documents"] + (settings.get("newest") or 0)
    size = documents * DOCUMENT
    seconds, shared = _DETECTED[a.identifier] if a.language_check != "off" else (0, False)
    check = seconds / max(a.threads, 1) if shared else seconds
    return Cost(network=size / 2, cpu=documents * check + size / 50e6, disk=size / 2, activations=_PORTION)


def _values(a: argparse.Namespace, model: Loaded, languages: int) -> float:
    return model.shape.neurons * languages


def _select(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    values = _values(a, model, len(a.statistics))
    neurons = model.shape.neurons
    disk = getattr(a, "ratio", 0.01) * neurons * (20 + 20 * len(a.statistics))
    # In memory are the sums of every language, and three arrays of one value per neuron and language.
    return Cost(cpu=values * (_SELECTED + 40e-9), disk=disk, activations=values * (40 + 12))


def _stability(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    values = _values(a, model, len(a.statistics))
    return Cost(cpu=a.resamples * 8 * values * _SELECTED, activations=values * 40 * 3)


def _average_precision(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    job = sizes.maker(a.responses)
    headers = job.arguments.sentences if job else []
    sentences = sum(map(sizes.rows, headers)) if job else len(a.responses.with_suffix(".tsv").read_text().splitlines())
    languages = max(len(headers), 1)
    values = model.shape.units * sentences
    return Cost(cpu=values * languages * _RANKED / max(a.threads, 1), disk=model.shape.units * languages * 8)


def _select_parameters(a: argparse.Namespace, model: Loaded, sizes: Sizes) -> Cost:
    read = 4 * model.shape.matrices * len(a.finetuned)
    disk = model.shape.matrices / 8 * len(a.finetuned)
    return Cost(cpu=read / 2e8, disk=disk, activations=read / model.shape.layers)


def _control_parameters(a: argparse.Namespace, model: Loaded | None, sizes: Sizes) -> Cost:
    if not a.finetuned:
        return Cost()
    # Every copy is read twice. A byte per language and parameter of one matrix is kept.
    matrix = model.shape.matrices / model.shape.layers
    read = 8 * model.shape.matrices * len(a.finetuned)
    return Cost(cpu=read / 2e8, disk=model.shape.matrices / 100 * 9, activations=matrix * len(a.finetuned))


def _task(a: argparse.Namespace, model: Loaded | None, sizes: Sizes) -> Cost:
    # The harness reads the definitions of all its tasks.
    return Cost(cpu=6) if a.source == "harness" else Cost()


# Command -> function that gives its cost. A command without an entry reads and writes small files.
COSTS: dict[str, Callable[[argparse.Namespace, Loaded | None, Sizes], Cost]] = {
    "corpus": _corpus,
    "task": _task,
    "model": _model,
    "tokens": _tokens,
    "statistics": _statistics,
    "contexts": _contexts,
    "vocabulary_effects": _vocabulary_effects,
    "select": _select,
    "stability": _stability,
    "finetune": _finetune,
    "select_parameters": _select_parameters,
    "control_parameters": _control_parameters,
    "responses": _responses,
    "average_precision": _average_precision,
    "generate": _generate,
    "sample": _sample,
    "translate": _translate,
    "perplexity": _perplexity,
    "draws": _draws,
    "accuracy": _accuracy,
    "score": _score,
    "embed": _embed,
    "explorer": lambda arguments, model, sizes: Cost(cpu=_PAGE),
}
# Commands that load the model and run on its device.
ON_DEVICE = (
    "statistics",
    "contexts",
    "vocabulary_effects",
    "directions",
    "finetune",
    "responses",
    "generate",
    "sample",
    "translate",
    "perplexity",
    "draws",
    "accuracy",
    "score",
    "embed",
)
