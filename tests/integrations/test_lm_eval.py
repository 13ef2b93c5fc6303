"""The harness's model `lape`, and the harness's tasks in lape's own engine: the same numbers from both."""

import json
import sys

import numpy as np
import pytest
from harness_tasks import CODES, KINDS
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from stages import check_refusal
from transformers import AutoModelForCausalLM

from lape.errors import LapeError
from lape.evaluation.choices import ChoiceTemplate, accuracies, asked_of, choice_loglik, prefix_of, tables_of
from lape.evaluation.deactivation import Deactivation
from lape.integrations import lm_eval
from lape.model.loading import load_model
from lape.model.tokenizer import load_tokenizer
from lape.text.harness import read_harness
from lape.text.reading import Reading

ASKED = [f"{kind}_{code}" for kind in KINDS for code in CODES.values()]


@pytest.fixture(scope="module")
def evaluate(harness_tasks):
    """Evaluate a model of the harness by its name and arguments."""
    manager = TaskManager(include_path=str(harness_tasks))

    def run(model: str, asked=("mood_fr_XX",), shots=None, cache=None, batch_size=2, **arguments) -> dict:
        return simple_evaluate(
            model,
            {name: str(value) if not isinstance(value, int) else value for name, value in arguments.items()},
            list(asked),
            num_fewshot=shots,
            batch_size=batch_size,
            max_batch_size=4,
            device="cpu",
            use_cache=cache and str(cache),
            bootstrap_iters=0,
            task_manager=manager,
        )

    return run


@pytest.fixture(scope="module")
def given(finished_run):
    """Arguments of the model with the French neurons off."""
    neurons = finished_run / "neurons/tiny/lape.json"
    return {"pretrained": finished_run.parents[1] / "model", "neurons": neurons, "deactivate": "fr"}


def likelihoods(results: dict) -> dict[str, list[list[float]]]:
    """Task -> by document the log-likelihoods of what the harness asked."""
    return {
        name: [[response[0][0] for response in sample["resps"]] for sample in samples]
        for name, samples in results["samples"].items()
    }


@pytest.mark.parametrize("off", [None, "fr"])
def test_a_run_measures_what_the_harness_measures(evaluate, given, finished_run, harness_tasks, off):
    """Few shots, an empty prompt, no delimiter, white space before a choice; with neurons off, and as it is."""
    arguments = given if off else {"pretrained": given["pretrained"]}
    wanted = evaluate("lape" if off else "hf", ASKED, shots=2, **arguments)
    model, description = load_model(finished_run / "models/tiny/model.json")
    tokenizer = load_tokenizer(finished_run / "models/tiny/tokenizer.json")
    template, prefix = ChoiceTemplate("{question}{choice}"), prefix_of(model, description)
    deactivation = Deactivation.load(given["neurons"] if off else None, off, None, description)
    for kind, settings in KINDS.items():
        shots = settings.get("num_fewshot", 2)
        read = {
            code: list(
                read_harness(
                    code, Reading(), name=kind + "_{language}", codes=CODES, shots=shots, include_path=harness_tasks
                )
            )
            for code in CODES
        }
        with deactivation.begin(model):
            values, _ = choice_loglik(model, tokenizer, template, asked_of(read), prefix=prefix)
        for code, table in tables_of(read, values).items():
            name = f"{kind}_{CODES[code]}"
            theirs = np.array(likelihoods(wanted)[name])  # by document three choices after the prompt, three alone
            compared = {"sum": "acc", "bytes": "acc_bytes", "calibrated": "acc_mutual_info"}
            if kind == "joined":  # what stands alone in lape has the prompt's last white space
                theirs = theirs[:, :3]
                del compared["calibrated"]
            columns = [table[column].to_numpy().reshape(6, 3) for column in ("loglik", "prior")]
            found = np.concatenate(columns, axis=1)[:, : theirs.shape[1]]
            np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-4)
            own = accuracies(table)
            assert [own[f"accuracy_{score}"] for score in compared] == [
                wanted["results"][name][f"{metric},none"] for metric in compared.values()
            ]


def test_an_exported_checkpoint_and_the_perturbed_model_are_equal(evaluate, given, finished_run, lape, tmp_path):
    asked = [*ASKED, "written_fr"]
    plain, off = evaluate("hf", asked, pretrained=given["pretrained"]), evaluate("lape", asked, **given)
    words = ["export", "checkpoint", finished_run, "--deactivate", "fr", "--compare", 0, "--output", tmp_path / "off"]
    assert lape(*words)[0] == 0
    exported = evaluate("hf", asked, pretrained=tmp_path / "off")
    answers = [
        [[sample["resps"] for sample in each["samples"][name]] for name in asked] for each in (plain, off, exported)
    ]
    assert answers[0] != answers[1] == answers[2]
    done = off["config"]["lape"]
    assert done["change"] == "fr off" and done["found"].keys() == {
        str(given["neurons"].with_suffix(end)) for end in (".json", ".tsv")
    }
    assert {each["tokens"] for each in done["by_layer"]} == {done["tokens"]} and all(
        each["changed"] for each in done["by_layer"]
    )


def test_a_cache_keeps_every_switching_apart(evaluate, given, tmp_path):
    """The harness's cache knows requests and no models."""
    models = [("hf", {"pretrained": given["pretrained"]}), ("lape", given), ("lape", given | {"deactivate": "fr+ja"})]
    alone = [likelihoods(evaluate(model, **own)) for model, own in models]
    assert alone[0] != alone[1] != alone[2]
    for tokens in (True, False):
        for (model, own), wanted in zip(models, alone, strict=True):
            results = evaluate(model, cache=tmp_path / "cache", **own)
            assert likelihoods(results) == wanted
            assert model == "hf" or bool(results["config"]["lape"]["tokens"]) == tokens


@pytest.mark.parametrize("how", ["values", "statistics", "units"])
def test_a_language_is_switched_on(evaluate, given, finished_run, how):
    paths = {
        "values": "steering/tiny/lape.json",
        "statistics": "statistics/tiny",
        "units": "expert_units/tiny/units.json",
    }
    own = {"steer": "fr", how: finished_run / paths[how], "pretrained": given["pretrained"]}
    own |= {"size": 10} if how == "units" else {"neurons": given["neurons"], "dose": "add-all-2-1", "deactivate": "ja"}
    results = evaluate("lape", ["mood_fr_XX", "written_fr"], batch_size="auto", **own)
    wanted = evaluate("lape", ["mood_fr_XX", "written_fr"], **own)
    plain = evaluate("hf", pretrained=given["pretrained"])
    key = "mood_fr_XX"
    np.testing.assert_allclose(likelihoods(results)[key], likelihoods(wanted)[key], rtol=1e-4)
    assert not np.allclose(likelihoods(results)[key], likelihoods(plain)[key], rtol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deactivate": ()}, "model lape: nothing is switched; give deactivate or steer, and neurons or units"),
        ({"deactivate": "fr+xx"}, "no set 'xx'"),
        ({"steer": "ja"}, "the run has no statistics to steer by; switch languages off only"),
        ({"neurons": "none.json"}, "none.json"),
        ({"tp_plan": "auto"}, "tp_plan is not supported; spread the layers by parallelize=True"),
        ({"intermediate_size": 48}, "this one has 3 layers x 48 neurons; select them on this model"),
        ({"_commit_hash": "0123abc"}, "found on tiny, not on"),
    ],
)
def test_what_cannot_be_switched_is_refused(given, change, message, tmp_path, monkeypatch):
    from tiny_data import make_model

    own = given | change
    if "intermediate_size" in change:
        own = given | {"pretrained": make_model(tmp_path / "model", **change)}
    elif "_commit_hash" in change:
        from transformers import LlamaConfig

        own = given
        monkeypatch.setattr(
            LlamaConfig, "_commit_hash", property(lambda config: "0123abc", lambda config, value: None), raising=False
        )
    with pytest.raises(LapeError) as caught:
        lm_eval.SwitchedLM(**own | {"pretrained": str(own["pretrained"])}, device="cpu")
    assert message in str(caught.value)


def test_a_perturbation_that_does_nothing_ends_the_evaluation(evaluate, given, finished_run, monkeypatch):
    steered = {"steer": "fr", "values": finished_run / "steering/tiny/lape.json", "dose": "set-generated-1-1"}
    own = {"pretrained": given["pretrained"], "neurons": given["neurons"]}
    with pytest.raises(LapeError, match="the perturbation changed no activation"):  # nothing is generated
        evaluate("lape", **own, **steered)
    another = AutoModelForCausalLM.from_pretrained(given["pretrained"])
    monkeypatch.setattr(
        lm_eval.SwitchedLM, "model", property(lambda lm: another if hasattr(lm, "_firing") else lm._model)
    )
    with pytest.raises(LapeError, match=r"layer 1 .index 0.: the perturbation fired on 0 tokens"):
        evaluate("lape", **given)


def test_the_command_gives_the_harness_a_run(finished_run, harness_tasks, lape, tmp_path, monkeypatch, evaluate, given):
    monkeypatch.setattr(sys, "argv", [])
    flags = [
        "--",
        "--tasks",
        "mood_fr_XX",
        "--include_path",
        harness_tasks,
        "--output_path",
        tmp_path / "out",
        "--log_samples",
    ]
    switched = ["--deactivate", "fr", "--steer", "ja", "--dose", "add-all-2-1"]
    for words, model in (([], "hf"), (switched, "lape"), (["--method", "expert_units", "--steer", "fr"], "lape")):
        status, messages = lape("lm_eval", finished_run, *words, *flags)
        assert status == 0, messages
        [written] = (tmp_path / "out").rglob("results_*.json")
        config = json.loads(written.read_text())["config"]
        assert config["model"] == model and ("lape" in config) == bool(words)
        written.unlink()
    assert config["lape"]["change"] == "fr on" and config["lape"]["size"] == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "lm_eval: the harness is told nothing; name its flags, such as -- --tasks xnli_fr"),
        (["--", "--tasks", "no_such", "--include_path", "TASKS"], "ended with 'Tasks not found: no_such'; correct"),
        (["--deactivate", "xx", "--", "--tasks", "mood_fr_XX", "--include_path", "TASKS"], "no set 'xx'"),
        (["--method", "lav", "--", "--tasks", "mood_fr_XX"], "has no method 'lav' of tiny"),
    ],
)
def test_bad_words_are_refused(finished_run, harness_tasks, lape, words, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    status, messages = lape(
        "lm_eval", finished_run, *(str(harness_tasks) if word == "TASKS" else word for word in words)
    )
    assert message in messages.strip().splitlines()[-1] and status == 1


def test_the_harness_must_be_installed(finished_run, lape, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    status, messages = lape("lm_eval", finished_run, "--", "--tasks", "x")
    check_refusal(status, messages, "lm_eval", "lm-eval: is not installed for", 'pip install "lape[harness]"')


def test_their_command_line_tells_a_fault_in_a_line(harness_tasks, monkeypatch, capsys):
    words = [
        "--model",
        "lape",
        "--model_args",
        "pretrained=x",
        "--tasks",
        "mood_fr_XX",
        "--include_path",
        str(harness_tasks),
    ]
    monkeypatch.setattr(sys, "argv", ["lm_eval", *words])
    with pytest.raises(SystemExit) as caught:
        lm_eval.main()
    assert str(caught.value).startswith("lape: model lape: nothing is switched; give")
