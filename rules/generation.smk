"""Answers to the questions of every language: one job a model, prompt and setting.

Input: the questions, the model, and what the setting perturbs: neurons, and the values to steer with.
Output: JSON lines with prompt, answer, tokens and why it ended, and in the header the proof that the perturbation fired.
The answers of a pair of languages are kept while the job runs: an interrupted one goes on behind them.
"""


rule generate:
    input:
        model="<results>/models/{model}/model.json",
        questions=of_languages("<results>/questions/{language}.json"),
        lines=of_languages("<results>/questions/{language}.jsonl"),
        perturbing=perturbing_input,
        code=code("lape.commands.generate"),
    output:
        answers="<results>/generations/{model}/{prompt}/{setting}.jsonl",
        header="<results>/generations/{model}/{prompt}/{setting}.json",
    log:
        "<logs>/generations/{model}/{prompt}/{setting}.log",
    benchmark:
        "<benchmarks>/generations/{model}/{prompt}/{setting}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        torchrun=torchrun,
        perturbing=perturbing_flags,
        prompt=prompt_flags,
        dose=dose_flag,
        stop=lambda wildcards: json.dumps(config["generation"]["stop"]),
        max_new_tokens=config["generation"]["max_new_tokens"],
        repetition_penalty=config["generation"]["repetition_penalty"],
        batch_size=config["generation"]["batch_size"],
    shell:
        "{params.torchrun} lape generate --log {log} --gpus {resources.gpu} --rule generate --model {input.model} "
        "--questions {input.questions} "
        "--setting {wildcards.setting} {params.perturbing} {params.dose} {params.prompt} --stop {params.stop:q} "
        "--max-new-tokens {params.max_new_tokens} --repetition-penalty {params.repetition_penalty} "
        "--batch-size {params.batch_size} --threads {threads} --output {output.answers}"
