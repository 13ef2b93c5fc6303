"""The Python and the command that repeat a request of the playground."""

import shlex
from pathlib import Path

from lape.artifacts.files import read_json
from lape.model.loading import location
from lape.playground.asking import Asking, Request
from lape.playground.finished_run import FinishedRun, Method


def command(run: FinishedRun, request: Request) -> str:
    """The `lape play` that prints both answers in a terminal."""
    change = request.change
    words = ["lape", "play", str(run.folder), f"--ask={request.prompt}"]
    words += ["--model", request.model, "--method", request.method]
    words += ["--off", *change.off] if change.off else []
    words += ["--on", change.on, "--dose", str(change.dose)] if change.on else []
    words += [] if request.is_question else ["--continue"]
    return shlex.join([*words, "--max-new-tokens", str(request.max_new_tokens)])


def python(run: FinishedRun, request: Request, threads: int) -> str:
    """A script that prints the answer of the model as it is, and the answer with languages switched."""
    asking, method = Asking.of(run, request), run.method(request.model, request.method)
    model_json = run.model_json(request.model)
    imports, chat = _template(asking, model_json)
    block = _block(run, request, method)
    lines = [
        "import torch",
        *imports,
        "",
        "import lape",
        "",
        f"torch.set_num_threads({threads})",
        f"model, _ = lape.load_model({str(model_json)!r})",
        f"tokenizer = lape.load_tokenizer({str(model_json.with_name('tokenizer.json'))!r})",
        f"template = lape.Template({asking.template!r}{chat})",
        f"prompt = template.encode(tokenizer, template.prompt({request.prompt!r}, ''))",
        "",
        "",
        "def answer():",
        "    return lape.greedy_answers(",
        "        model,",
        "        tokenizer,",
        "        [prompt],",
        f"        max_new_tokens={request.max_new_tokens},",
        f"        stop={list(asking.stop)!r},",
        f"        repetition_penalty={asking.repetition_penalty!r},",
        "    )[0].text",
        "",
        "",
        "print(answer())",
        *block,
    ]
    return "\n".join(lines) + "\n"


def _template(asking: Asking, model_json: Path) -> tuple[list[str], str]:
    """What a chat template needs: imports, and the further arguments of `lape.Template`."""
    if not asking.chat:
        return [], ""
    path, revision = location(model_json, read_json(model_json, "model"))
    of = f", revision={revision!r}" if revision else ""
    arguments = f", chat_arguments={dict(asking.chat_arguments)!r}" if asking.chat_arguments else ""
    return ["import transformers"], f", chat=transformers.AutoTokenizer.from_pretrained({str(path)!r}{of}){arguments}"


def _block(run: FinishedRun, request: Request, method: Method) -> list[str]:
    """The lines that switch languages and answer again."""
    off, on, dose = list(request.change.off), request.change.on, str(request.change.dose)
    neurons = f"neurons = lape.Neurons.load({str(method.neurons)!r})"
    if method.units and on:
        loads = [f"units = lape.ExpertUnits.load({str(method.units)!r})"]
        block = f"lape.overwritten(model, units.perturbation({on!r}, 'both', {run.units}))"
    elif on:
        loads = [f"values = lape.SteeringValues.load({str(method.values)!r})"]
        if not method.values:
            headers = {code: str(path) for code, path in method.statistics.items()}
            loads = [
                neurons,
                f"headers = {headers!r}",
                "statistics = {code: lape.ActivationStatistics.load(path) for code, path in headers.items()}",
                "values = lape.steering_values(neurons, statistics)",
            ]
        switched = f"lape.switch(model, values, off={off!r}, on={on!r}, dose={dose!r})"
        block = switched if off else f"lape.steer(model, values, {on!r}, dose={dose!r})"
    elif off:
        loads, block = [neurons], f"lape.deactivate(model, neurons, {off!r})"
    else:
        return []
    return [*loads, f"with {block}:", "    print(answer())"]
