"""The page of the playground, made with gradio. It takes nothing from the network, and reports to nobody."""

import os
from collections.abc import Iterator, Sequence

import pandas as pd

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
import gradio

from lape.errors import LapeError
from lape.interventions.dose import Dose
from lape.interventions.perturbation import POSITIONS
from lape.kernels.ops import MODES
from lape.playground.answering import Answers, Playground, Side
from lape.playground.asking import Request
from lape.playground.change import Change
from lape.playground.finished_run import EXPERT_UNITS
from lape.playground.firing import leading
from lape.playground.repeating import command, python

_NOBODY = "none"  # no language is switched on
# Dark enough for the white letters of a label, which names the language: colour alone tells nothing.
_COLOURS = ("#0072B2", "#A34700", "#00664B", "#8A3D72", "#332288", "#6B5900", "#882255", "#4D4D4D")
# Fonts of the system. Text runs in the direction of its own script, line by line.
_THEME = gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
_STYLE = """textarea, .fired {unicode-bidi: plaintext; text-align: start}
.dark .fired .text {color: white}"""
_ABOUT = """# Switch languages in {model}
Write a question, choose what is off and what is on, and compare the two answers. The model is that of the run `{run}`.
"""
_FIRING = """The prompt comes first, then the answer. Each token has the language of which the largest share of neurons
fires on it, and how many do. A neuron fires where its activation is above zero as the token is read."""
_MODES = """With the mean m of an activation on text of its language and the strength s, an activation x becomes s m
(set), the larger of x and s m (max), x + s m (add), or (1 + s) x (scale). This is for the language that is on. The
neurons of a language that is off are set to zero."""


def launched(playground: Playground, port: int | None = None, share: bool = False) -> tuple[gradio.Blocks, str]:
    """Serve the page on the loopback interface; returns it with its address.

    Args:
        playground: which is asked.
        port: of the page; None for the first free one from 7860.
        share: let gradio's servers give the page a public address, too.

    Raises:
        LapeError: the port is taken, or there is no public address.
    """
    blocks = page(playground)
    try:
        _, local, public = blocks.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=share,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            enable_monitoring=False,
            ssr_mode=False,
            footer_links=[],
            theme=_THEME,
            css=_STYLE,
        )
    except OSError as error:
        raise LapeError(f"--port {port or 'from 7860 on'}: no such port is free; name another") from error
    if share and not public:
        blocks.close(verbose=False)
        raise LapeError("gradio's servers gave no public address; look at the network, or leave out --share")
    return blocks, public or local


def page(playground: Playground) -> gradio.Blocks:
    """The page, which is not served yet."""
    run = playground.run
    first = run.models[0]
    most = max(256, run.config["generation"]["max_new_tokens"])
    with gradio.Blocks(analytics_enabled=False, title=f"lape play {run.folder.name}") as blocks:
        gradio.Markdown(_ABOUT.format(model=", ".join(run.models), run=run.folder.name))
        with gradio.Row():
            model = gradio.Dropdown(run.models, value=first, label="Model", visible=len(run.models) > 1)
            method = gradio.Dropdown(list(run.methods(first)), label="Method that found the neurons")
        prompt = gradio.Textbox(label="Prompt", lines=2, placeholder="a question")
        questions = run.first_questions()
        if questions:
            gradio.Examples([[text] for text in questions.values()], prompt, label="First questions of the run")
        languages = run.method(first, next(iter(run.methods(first)))).languages
        with gradio.Row():
            off = gradio.CheckboxGroup(languages, label="Off")
            on = gradio.Radio([_NOBODY, *languages], value=_NOBODY, label="On")
        with gradio.Accordion("Dose and prompt", open=False):
            with gradio.Row():
                mode = gradio.Radio(MODES, value="set", label="Mode")
                positions = gradio.Radio(POSITIONS, value="all", label="Positions")
                strength = gradio.Slider(0, 4, 1, step=0.1, label="Strength")
                share = gradio.Slider(0.05, 1, 1, step=0.05, label="Share of the neurons")
            gradio.Markdown(_MODES)
            with gradio.Row():
                asked = gradio.Checkbox(True, label="The prompt is a question, asked as the run asks")
                tokens = gradio.Slider(
                    1, most, run.config["generation"]["max_new_tokens"], step=1, label="Tokens of an answer, at most"
                )
        with gradio.Row():
            start = gradio.Button("Answer", variant="primary", scale=4)
            stop = gradio.Button("Stop", scale=1)
        with gradio.Row():
            texts = [_answer(label) for label in ("As it is", "Switched")]
        done = gradio.Markdown()
        with gradio.Accordion("Which languages' neurons fire", open=True):
            gradio.Markdown(_FIRING)
            with gradio.Row():
                fired = [
                    gradio.HighlightedText(label=label, show_legend=False, elem_classes="fired")
                    for label in ("As it is", "Switched")
                ]
        with gradio.Accordion("Number of neurons that fire, for each token and language", open=False):
            with gradio.Row():
                tables = [gradio.Dataframe(label=label, interactive=False) for label in ("As it is", "Switched")]
        with gradio.Accordion("Repeat it", open=False):
            script = gradio.Code(language="python", label="Python", interactive=False, elem_id="python")
            line = gradio.Code(
                language="shell", label="Command", interactive=False, elem_id="command", wrap_lines=True, lines=1
            )

        def answer(*values) -> Iterator[list]:
            """Each value of the page's components while the answers grow."""
            try:
                request = _request(*values)
                yield from _shown(playground, request)
            except LapeError as error:
                raise gradio.Error(str(error), duration=None, print_exception=False) from error

        inputs = [model, method, prompt, off, on, mode, positions, strength, share, asked, tokens]
        outputs = [*(part for text in texts for part in text), done, *fired, *tables, script, line]
        running = gradio.on([start.click, prompt.submit], answer, inputs, outputs, api_visibility="private")
        stop.click(None, cancels=[running], api_visibility="private")
        chosen = {"fn": lambda model, method: _choices(playground, model, method), "inputs": [model, method]}
        model.change(**chosen, outputs=[method, off, on], api_visibility="private")
        method.change(**chosen, outputs=[method, off, on], api_visibility="private")
    return blocks


def _answer(label: str) -> tuple[gradio.Textbox, gradio.Markdown]:
    """Where an answer and its language are shown."""
    with gradio.Column():
        text = gradio.Textbox(label=label, lines=5, interactive=False, elem_id=label.replace(" ", "-").lower())
        language = gradio.Markdown(elem_id=f"{text.elem_id}-language")
    return text, language


def _request(model, method, prompt, off, on, mode, positions, strength, share, asked, tokens) -> Request:
    change = Change(tuple(off), None if on == _NOBODY else on, Dose(mode, float(strength), positions, float(share)))
    return Request(model, method, prompt or "", change, bool(asked), int(tokens))


def _shown(playground: Playground, request: Request) -> Iterator[list]:
    """What the components of the page show while the answers grow."""
    script, line = python(playground.run, request, playground.threads), command(playground.run, request)
    for found in playground.answers(request):
        sides = (found.normal, found.switched)
        if found.done:
            fired, tables = [_fired(side, found) for side in sides], [_table(side, found) for side in sides]
        else:
            fired, tables = [None, None], [None, None]
        texts = [part for side in sides for part in (side.text, _language(side))]
        yield [*texts, found.done, *fired, *tables, script, line]


def _language(side: Side) -> str:
    codes = ", ".join(f"**{code}** ({identifier})" for identifier, code in side.languages.items())
    return f"Language: {codes}" if codes else ""


def _fired(side: Side, found: Answers) -> gradio.HighlightedText:
    """The tokens of prompt and answer, each with the language whose neurons fire most on it."""
    reading, names = side.reading, list(found.sizes)
    if reading.counts is None:
        return gradio.HighlightedText(value=[(_visible(token), None) for token in reading.tokens])
    labels, colours = [], {}
    for token, counts, place in zip(
        reading.tokens, reading.counts, leading(reading.counts, list(found.sizes.values())), strict=True
    ):
        label = None if place is None else f"{names[place]} {counts[place]}"
        labels.append((_visible(token), label))
        if label:
            colours[label] = _COLOURS[place % len(_COLOURS)]
    return gradio.HighlightedText(value=labels, color_map=colours)


def _table(side: Side, found: Answers) -> pd.DataFrame:
    """One row per token, one column per language."""
    counts = side.reading.counts
    columns = {f"{name} (of {size})": counts[:, place] for place, (name, size) in enumerate(found.sizes.items())}
    return pd.DataFrame({"token": map(_visible, side.reading.tokens), **columns})


def _visible(token: str) -> str:
    """A token with a sign for each end of a line, as the cards of neurons have it."""
    return token.replace("\n", "⏎")


def _choices(playground: Playground, model: str, method: str) -> Sequence[object]:
    """The methods of a model, and the languages of a method."""
    methods = playground.run.methods(model)
    method = method if method in methods else next(iter(methods))
    languages = methods[method].languages
    return (
        gradio.update(choices=list(methods), value=method),
        gradio.update(choices=[] if method == EXPERT_UNITS else languages, value=[]),
        gradio.update(choices=[_NOBODY, *(languages if methods[method].steers else ())], value=_NOBODY),
    )
