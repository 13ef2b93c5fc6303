"""Each way to generate text with transformers works inside a block of `deactivate`, `steer` or `switch`.

    python examples/ways_to_generate.py

Each function takes a model and its tokenizer, or loads them in its own way from a folder or a name of the hub, and a
prompt; it returns the text that follows the prompt.
"""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, pipeline, set_seed

import lape

TOKENS = 8


def _generated(model, tokenizer, prompt: str, **settings) -> str:
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    output = model.generate(**inputs, max_new_tokens=TOKENS, pad_token_id=tokenizer.eos_token_id, **settings)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])


def by_greedy_search(model, tokenizer, prompt: str) -> str:
    return _generated(model, tokenizer, prompt, do_sample=False)


def by_sampling(model, tokenizer, prompt: str) -> str:
    set_seed(0)
    return _generated(model, tokenizer, prompt, do_sample=True, temperature=0.8, top_p=0.95)


def by_beams(model, tokenizer, prompt: str) -> str:
    return _generated(model, tokenizer, prompt, do_sample=False, num_beams=3)


def with_a_static_cache(model, tokenizer, prompt: str) -> str:
    return _generated(model, tokenizer, prompt, do_sample=False, cache_implementation="static")


def without_a_cache(model, tokenizer, prompt: str) -> str:
    return _generated(model, tokenizer, prompt, do_sample=False, use_cache=False)


def through_a_pipeline(model, tokenizer, prompt: str) -> str:
    generator = pipeline("text-generation", model=model, tokenizer=tokenizer)
    (found,) = generator(prompt, max_new_tokens=TOKENS, do_sample=False, return_full_text=False)
    return found["generated_text"]


def through_a_chat_template(model, tokenizer, prompt: str) -> str:
    said = [{"role": "user", "content": prompt}]
    inputs = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs.to(model.device), max_new_tokens=TOKENS, do_sample=False)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])


def spread_over_devices(folder: str) -> tuple:
    """The model and its tokenizer, each layer on the device that accelerate chooses."""
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="auto")
    return model, AutoTokenizer.from_pretrained(folder)


def in_8_bits(folder: str) -> tuple:
    """The model and its tokenizer, with weights of 8 bits; it needs the package bitsandbytes."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map="auto", dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(load_in_8bit=True)
    )
    return model, AutoTokenizer.from_pretrained(folder)


WAYS = (by_greedy_search, by_sampling, by_beams, with_a_static_cache, without_a_cache, through_a_pipeline)
LOADED = (spread_over_devices, in_8_bits)


def main() -> None:
    model, tokenizer = lape.example_model()
    statistics = {
        code: lape.record_statistics(model, lape.example_texts(code), tokenizer, tokens=8192) for code in ("en", "fr")
    }
    neurons = lape.select_lape(statistics)
    values = lape.steering_values(neurons, statistics)
    for way in WAYS:
        print(f"{way.__name__}: {way(model, tokenizer, 'La mousse au chocolat est')!r}")
        with lape.deactivate(model, neurons, "fr"):
            print(f"  French off: {way(model, tokenizer, 'La mousse au chocolat est')!r}")
        with lape.steer(model, values, "fr"):
            print(f"  French on:  {way(model, tokenizer, 'La mousse au chocolat est')!r}")


if __name__ == "__main__":
    main()
