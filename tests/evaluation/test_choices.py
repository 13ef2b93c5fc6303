"""Likelihoods of choices: equal to the model's own, whatever the batches; rows that are shared; scores."""

import architectures
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_data import make_model
from transformers import AutoModelForCausalLM

from lape.errors import LapeError
from lape.evaluation import perplexity
from lape.evaluation.choices import (
    ChoiceTemplate,
    accuracies,
    asked_of,
    choice_loglik,
    correct,
    positions_read,
    prefix_of,
    tables_of,
)
from lape.model.architectures import ARCHITECTURES
from lape.model.decoder import reads_on
from lape.model.tokenizer import load_tokenizer, prompt_ids
from lape.text.tasks import Question

TEMPLATE = ChoiceTemplate("{question} : {choice}")
ASKED = [
    ("la maison", ("A", "B")),  # they share the token of the space
    ("la rivière coule", ("A", "AB", "ABC", "la maison de")),  # some begin others
    ("", ("près", "sous une lumière")),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("model"))
    return AutoModelForCausalLM.from_pretrained(folder).eval(), load_tokenizer(folder / "tokenizer.json")


@torch.inference_mode()
@pytest.mark.parametrize("share_prompts", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("backend", ["extension", "reference"])
def test_equals_the_models_own_likelihood(tiny, batch_size, backend, share_prompts, monkeypatch):
    monkeypatch.setattr(perplexity, "LOGITS_IN_MEMORY", 800)  # two positions at once
    model, tokenizer = tiny
    fed = []
    hook = model.model.embed_tokens.register_forward_hook(lambda module, inputs, output: fed.append(inputs[0].numel()))
    found, read = choice_loglik(model, tokenizer, TEMPLATE, ASKED, batch_size, backend, share_prompts=share_prompts)
    hook.remove()
    for (question, choices), own in zip(ASKED, found, strict=True):
        start = len(prompt_ids(tokenizer, f"{question} :"))
        for choice, value in zip(choices, own, strict=True):
            ids = prompt_ids(tokenizer, f"{question} : {choice}")
            likely = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
            expected = sum(likely[place - 1, ids[place]].item() for place in range(start, len(ids)))
            assert value == pytest.approx(expected, rel=1e-4)
    assert read == sum(fed) == positions_read(tokenizer, TEMPLATE, ASKED, batch_size, share_prompts=share_prompts)


@torch.inference_mode()
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_reads_on_from_its_cache(tiny, model_type):
    model, (_, tokenizer) = architectures.tiny(model_type, vocab_size=512), tiny
    assert reads_on(model)
    alone, together = (
        choice_loglik(model, tokenizer, TEMPLATE, ASKED, 3, share_prompts=shared)[0] for shared in (False, True)
    )
    assert np.concatenate(together) == pytest.approx(np.concatenate(alone), rel=1e-4)


def test_what_a_model_remembers_beside_its_cache_keeps_prompts_whole(tiny, monkeypatch):
    model, _ = tiny
    assert reads_on(model)
    forward = model.model.forward  # one that forgets what was read before
    monkeypatch.setattr(model.model, "forward", lambda past_key_values=None, **kwargs: forward(**kwargs))
    assert not reads_on(model)
    monkeypatch.setattr(model, "_is_stateful", True)
    assert not reads_on(model)


def test_choices_of_one_token_share_one_row_and_the_head_sees_their_places_alone(tiny):
    model, tokenizer = tiny
    sizes, rows = [], []
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: sizes.append(output[..., 0].numel()))
    template, asked = ChoiceTemplate("{question}:{choice}"), [("la", ("A", "B"))]
    choice_loglik(model, tokenizer, template, asked, on_batch=rows.append)
    hook.remove()
    assert (rows, sizes) == ([1], [2])
    assert positions_read(tokenizer, template, asked, 16) == len(prompt_ids(tokenizer, "la:"))


def test_nan_is_refused(tiny):
    model, tokenizer = tiny
    weight = model.lm_head.weight.detach().clone()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(LapeError, match="NaN or infinite"):
        choice_loglik(model, tokenizer, TEMPLATE, ASKED)
    with torch.no_grad():
        model.lm_head.weight.copy_(weight)


def test_a_question_that_leaves_the_context_is_refused(tiny):
    with pytest.raises(
        LapeError, match="tokens with its choice, more than the context of 64; shorten it, or leave its id"
    ):
        choice_loglik(*tiny, TEMPLATE, [("? " * 40, ("A", "B"))])


def test_an_empty_prompt_is_the_token_that_stands_for_it(tiny):
    model, tokenizer = tiny
    template, asked = ChoiceTemplate("{question}{choice}"), [("", ("la maison", "près"))]
    with pytest.raises(LapeError, match=r"no BOS or EOS to put there; write words before \{question\}"):
        choice_loglik(model, tokenizer, template, asked)
    [found], read = choice_loglik(model, tokenizer, template, asked, prefix=0)
    [named], _ = choice_loglik(model, tokenizer, template, [("<s>", asked[0][1])])
    assert found.tolist() == named.tolist() and read == positions_read(tokenizer, template, asked, 16, prefix=0)
    assert prefix_of(model, {"bos_token_id": None}) == model.config.eos_token_id


def test_template():
    template = ChoiceTemplate("Q: {question}\nA:\n {choice}")
    assert (template.prompt("{choice}"), template.whole("x", "y")) == ("Q: {choice}\nA:", "Q: x\nA:\n y")
    for text in ("{question}", "{choice}", "{choice} {question}{choice}", "{question} {choice}."):
        with pytest.raises(LapeError, match=r"or no \{choice\} at its end; write both"):
            ChoiceTemplate(text)


def test_scores_and_what_a_choice_is_worth_where_nothing_is_asked():
    choices = ["No", "Yeees"]
    tasks = {"fr": [Question(3, "Oui ?", choices, 1)], "ja": [Question(3, "はい?", choices, 1)]}
    alone = [("", (choice,)) for choice in choices]
    assert asked_of(tasks) == [*alone, ("Oui ?", tuple(choices)), ("はい?", tuple(choices))]
    found = tables_of(tasks, [np.array(own) for own in ([-1.0], [-4.0], [-1.5, -3.0], [-2.0, -6.0])])
    assert found["fr"].to_dict("list") == {
        "id": [3, 3],
        "choice": [0, 1],
        "right": [0, 1],
        "loglik": [-1.5, -3.0],
        "prior": [-1.0, -4.0],
        "bytes": [2, 5],
    }
    # By log-likelihood it is No; per byte and calibrated it is Yeees, in Japanese but for the calibration.
    assert accuracies(found["fr"]) == {"accuracy_sum": 0.0, "accuracy_bytes": 1.0, "accuracy_calibrated": 1.0}
    assert accuracies(found["ja"]) == {"accuracy_sum": 0.0, "accuracy_bytes": 0.0, "accuracy_calibrated": 0.0}
    both = pd.concat([found["fr"].assign(id=7), found["ja"]])[::-1]
    assert correct(both, "calibrated").to_dict() == {3: 0.0, 7: 1.0}
