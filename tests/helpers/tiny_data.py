"""A tiny model and tiny texts, made in code: what the tests run the stages and the workflow on."""

import json
import random
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "fr", "ja")
# Each language has words of its own, so that neurons and tokens differ between them.
WORDS = {
    "en": [
        "the",
        "house",
        "of",
        "a",
        "small",
        "river",
        "runs",
        "under",
        "bright",
        "morning",
        "light",
        "and",
        "every",
        "window",
        "opens",
    ],
    "fr": [
        "la",
        "maison",
        "près",
        "de",
        "cette",
        "rivière",
        "coule",
        "sous",
        "une",
        "lumière",
        "très",
        "claire",
        "où",
        "chaque",
        "fenêtre",
    ],
    "ja": ["家の", "近くを", "小さな川が", "明るい", "朝の", "光の下で", "流れて", "すべての", "窓が", "開く"],
}


def make_text(language: str, words: int, seed: int) -> str:
    """Random words of a language."""
    return " ".join(random.Random(f"{language}{seed}").choices(WORDS[language], k=words))


def make_texts(folder: Path, documents: int = 24, words: int = 60) -> Path:
    """One folder a language of .txt documents; returns the folder that holds them."""
    for language in LANGUAGES:
        (folder / language).mkdir(parents=True)
        for number in range(documents):
            (folder / language / f"{number:02}.txt").write_text(make_text(language, words, number), encoding="utf-8")
    return folder


def make_task(folder: Path, questions: int = 6) -> Path:
    """One file of JSON lines a language of questions with two choices, of one token and of two; returns the folder."""
    folder.mkdir(parents=True)
    for language in LANGUAGES:
        rows = [
            {"id": number, "question": make_text(language, 3 + number % 3, 80 + number), "choices": ["A", "BC"]}
            for number in range(questions)
        ]
        lines = [json.dumps(row | {"answer": row["id"] % 2}, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{language}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def make_model(folder: Path, seed: int = 0, model_type: str = "llama", **settings) -> Path:
    """Save a random model of 3 layers x 32 neurons, and a byte-level BPE tokenizer trained on the tiny texts.

    `settings` of its configuration go over the tiny ones, which have LLaMA's names.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    corpus = [make_text(language, 200, number) for language in LANGUAGES for number in range(3)]
    bpe.train_from_iterator(corpus, vocab_size=400, special_tokens=["<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>")
    shape = dict(vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2)
    # Large weights: a random model of the usual scale gives every token nearly the same probability.
    shape |= dict(max_position_embeddings=64, initializer_range=0.5, bos_token_id=0, eos_token_id=1)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **shape | settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
