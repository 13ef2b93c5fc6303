"""What the playground answers: what the workflow answers, whoever else asks, as it grows."""

import json
import threading

import pytest
import torch
from played_run import PROMPT, request

import lape as library
from lape.errors import LapeError
from lape.interventions.perturbation import perturbed
from lape.model.ffn import find_ffn
from lape.playground.finished_run import FinishedRun

OFF_AND_ON = {"off": ["fr"], "on": "ja", "dose": "add-generated-4-0.5"}


@pytest.mark.parametrize(
    ("change", "setting", "pair"),
    [
        ({}, "normal", ("fr", "fr")),
        ({"off": ["fr"]}, "deactivated-fr", ("fr", "fr")),
        ({"on": "fr", "dose": "set-prompt-8-1"}, "steered@set-prompt-8-1", ("fr", "fr")),
        (OFF_AND_ON, "cross-fr@add-generated-4-0.5", ("fr", "ja")),
    ],
)
def test_answers_are_those_of_the_workflow(ask, lape, run_folder, tmp_path, change, setting, pair):
    questions = [run_folder / "questions" / f"{language}.json" for language in ("fr", "ja")]
    words = ["generate", "--model", run_folder / "models/tiny/model.json", "--questions", *questions]
    words += ["--setting", setting, "--template", "Q: {question}\nA:", "--stop", '["\\nQ:", "\\nA:"]']
    words += ["--max-new-tokens", "12", "--output", tmp_path / "answers.jsonl"]
    words += ["--neurons", run_folder / "neurons/tiny/lape.json"] if setting != "normal" else []
    words += ["--values", run_folder / "steering/tiny/lape.json"] if "@" in setting else []
    assert lape(*words)[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    rows = [row for row in rows if (row["language"], row["target"]) == pair]
    assert len(rows) == 3
    answers = [ask(**change, prompt=row["question"]) for row in rows]
    assert [found.switched.text for found in answers] == [row["output"] for row in rows]
    assert any(found.switched.text != found.normal.text for found in answers) == (setting != "normal")


@pytest.mark.parametrize("change", [{}, {"on": "ja", "dose": "add-all-0-1"}])
def test_where_nothing_is_switched_the_answers_are_one(ask, change):
    found = ask(**change)
    assert found.switched.text == found.normal.text == ask(off=["fr"]).normal.text
    assert found.done == "Nothing is switched: both answers are the model's own."


def test_what_is_switched_is_told(ask):
    assert ask(off=["fr"]).done == "3 neurons switched; 102 activations changed on the 34 tokens of prompt and answer."
    assert ask(on="ja", method="expert_units").done.startswith("10 units switched; 340 activations changed")


def test_steering_values_follow_from_statistics_where_the_run_wrote_none(ask, run_folder, playground, monkeypatch):
    expected = ask(**OFF_AND_ON).switched.text
    method = playground.run.method("tiny", "lape")
    assert method.values is not None and set(method.statistics) == {"fr", "ja"}
    values = method.values.rename(method.values.with_suffix(".away"))
    try:
        assert playground.run.method("tiny", "lape").values is None
        assert ask(**OFF_AND_ON).switched.text == expected
    finally:
        values.rename(method.values)


def test_expert_units_are_overwritten_as_in_python(ask, run_folder, playground):
    found = ask(on="ja", method="expert_units")
    units = library.ExpertUnits.load(run_folder / "expert_units/tiny/units.json")
    model = playground._loaded.model
    tokenizer = library.load_tokenizer(run_folder / "models/tiny/tokenizer.json")
    with library.overwritten(model, units.perturbation("ja", "both", 10)):
        assert library.answer(model, tokenizer, PROMPT, max_tokens=12) == found.switched.text != found.normal.text


def test_a_text_goes_on_without_a_template(ask, playground, run_folder):
    found = ask(off=["fr"], is_question=False)
    tokenizer = library.load_tokenizer(run_folder / "models/tiny/tokenizer.json")
    ids = tokenizer.encode(PROMPT).ids
    assert found.normal.reading.prompt_length == len(ids) and found.normal.text != ask().normal.text


def test_both_answers_grow_together(playground, ask):
    *growing, last = playground.answers(request(off=["fr"]))
    assert len(growing) == 12 and growing[-1].switched.text == last.switched.text
    assert growing[3].normal.text != growing[5].normal.text and growing[3].switched.text != growing[5].switched.text
    assert all(each.done == "" and each.normal.reading is None for each in growing)
    assert set(last.switched.languages) == {"langdetect", "lingua", "fasttext"}


def test_who_asks_at_once_gets_his_own_answer(playground, ask):
    wanted = [{}, {"off": ["fr"]}, {"on": "ja"}, {"on": "ja", "method": "expert_units"}] * 2
    alone = [ask(**change) for change in wanted]
    found: dict[int, tuple[str, str]] = {}

    def listen(number: int) -> None:
        *_, last = playground.answers(request(**wanted[number]))
        found[number] = last.normal.text, last.switched.text

    threads = [threading.Thread(target=listen, args=[number]) for number in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: (each.normal.text, each.switched.text) for number, each in enumerate(alone)}
    assert len(set(found.values())) == 4


def test_who_leaves_lets_the_next_one_ask(playground, ask):
    before = ask().normal.text
    leaving = playground.answers(request(off=["fr"], max_new_tokens=20))
    next(leaving)
    leaving.close()
    assert ask().normal.text == before
    assert not any(module._forward_hooks for module in playground._loaded.model.modules())


@pytest.mark.parametrize("change", [{}, {"off": ["fr"]}, {"on": "ja", "dose": "set-generated-9-1"}])
def test_what_fires_is_what_hooks_see(ask, playground, run_folder, change):
    found = ask(**change)
    neurons = library.Neurons.load(run_folder / "neurons/tiny/lape.json")
    reading, model = found.switched.reading, playground._loaded.model
    assert list(found.sizes) == ["fr", "ja"] == list(neurons.sets)
    tokenizer = library.load_tokenizer(run_folder / "models/tiny/tokenizer.json")
    ids = tokenizer.encode(f"Q: {PROMPT}\nA:").ids
    values = library.SteeringValues.load(run_folder / "steering/tiny/lape.json")
    perturbation = request(**change).change.of_neurons(neurons, values)
    with perturbed(model, perturbation):
        [own] = library.greedy_answers(
            model, tokenizer, [ids], max_new_tokens=12, stop=["\nQ:", "\nA:"], repetition_penalty=1.1
        )
    assert own.text == found.switched.text
    seen = {}
    with perturbed(model, perturbation, prompt_length=len(ids)), torch.inference_mode():
        handles = [
            module.register_forward_hook(lambda module, inputs, output, layer=layer: seen.update({layer: output[0]}))
            for layer, module in enumerate(find_ffn(model).modules("activation"))
        ]
        model(input_ids=torch.tensor([[*ids, *own.tokens]]))
    for handle in handles:
        handle.remove()
    for place, language in enumerate(neurons.sets):
        fires = sum((seen[layer][:, index] > 0).sum(1) for layer, index in neurons.indices(language).items())
        assert reading.counts[:, place].tolist() == fires.tolist()
    assert len(reading.tokens) == len(ids) + len(own.tokens) and reading.counts.sum() > 0
    assert not reading.counts[:, 0].any() or change != {"off": ["fr"]}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prompt": " \n"}, "the prompt is empty; write a question"),
        ({"prompt": "a\ud800"}, "half a character"),
        ({"prompt": "maison " * 40}, "more than the context of 64; shorten it or lower max_tokens"),
        ({"off": ["de"]}, "no set 'de'; there are fr, ja"),
        ({"on": "de"}, "no set 'de'; there are fr, ja"),
        ({"method": "lpe"}, "has no method 'lpe' of tiny; did you mean 'lape'"),
        ({"off": ["fr"], "method": "expert_units"}, "expert units are switched on only; leave fr out"),
    ],
)
def test_what_cannot_be_asked_is_told(ask, asked, message):
    with pytest.raises(LapeError, match=message):
        ask(**asked)


def test_a_folder_without_a_run_is_refused(tmp_path, run_folder):
    with pytest.raises(LapeError, match="no such folder; name the folder of a finished run"):
        FinishedRun.open(tmp_path / "missing")
    with pytest.raises(LapeError, match=r"holds no run \(it lacks config.json\)"):
        FinishedRun.open(tmp_path)
    (tmp_path / "config.json").write_bytes((run_folder / "config.json").read_bytes())
    with pytest.raises(LapeError, match="no neurons were selected yet; finish the run first"):
        FinishedRun.open(tmp_path)


def test_a_run_without_questions_offers_those_of_lape(run_folder, tmp_path):
    run = FinishedRun.open(run_folder)
    assert run.first_questions()["fr"] == (run_folder.parents[1] / "asked/fr.txt").read_text().splitlines()[0]
    bare = FinishedRun(tmp_path, run.config)
    assert bare.first_questions()["fr"].startswith("Pourquoi les étoiles")
