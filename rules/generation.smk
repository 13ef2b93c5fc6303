"""Text that the model writes: answers, texts from no prompt, and translations; one job per model, prompt and setting.

Input: the questions or the pairs; the model; and what the setting perturbs: neurons with their steering values, or
expert units with their medians.
Output: JSON lines with the prompt, the answer, its tokens and the reason why it ended. The header has the proof that
the perturbation fired. A running job keeps finished answers, so that it can go on with the next ones after an
interruption.
"""


rule generate:
    input:
        model="<results>/models/{model}/model.json",
        questions=inputs.of_languages("<results>/questions/{language}.json"),
        lines=inputs.of_languages("<results>/questions/{language}.jsonl"),
        perturbing=inputs.perturbing,
    output:
        answers="<results>/generations/{model}/{prompt}/{setting}.jsonl",
        header="<results>/generations/{model}/{prompt}/{setting}.json",
    log:
        "<logs>/generations/{model}/{prompt}/{setting}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.generate"),
        torchrun=flags.torchrun,
        architecture=architecture,
        perturbing=flags.perturbing,
        prompt=flags.prompt,
        dose=flags.dose,
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


rule sample:
    input:
        model="<results>/models/{model}/model.json",
        selected=inputs.selected,
    output:
        texts="<results>/generations/{model}/unconditional/{selection}.jsonl",
        header="<results>/generations/{model}/unconditional/{selection}.json",
    log:
        "<logs>/generations/{model}/unconditional/{selection}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.sample"),
        torchrun=flags.torchrun,
        architecture=architecture,
        languages=EXPERT_LANGUAGES,
        selected=flags.selected,
        sampling=flags.sampling,
        batch_size=config["expert_units"]["sample_batch_size"],
    shell:
        "{params.torchrun} lape sample --log {log} --gpus {resources.gpu} --rule sample --model {input.model} "
        "--setting {wildcards.selection} "
        "--languages {params.languages} {params.selected} {params.sampling} --batch-size {params.batch_size} "
        "--threads {threads} --output {output.texts}"


rule translate:
    input:
        model="<results>/models/{model}/model.json",
        selected=inputs.selected,
        pairs=inputs.pairs_headers,
        rows=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in inputs.pairs_headers(wildcards)],
    output:
        texts="<results>/generations/{model}/translation-{corpus}/{selection}.jsonl",
        header="<results>/generations/{model}/translation-{corpus}/{selection}.json",
    log:
        "<logs>/generations/{model}/translation-{corpus}/{selection}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.translate"),
        torchrun=flags.torchrun,
        architecture=architecture,
        selected=flags.selected,
        template=lambda wildcards: config["translation"]["template"],
        stop=lambda wildcards: json.dumps(config["translation"]["stop"]),
        max_new_tokens=config["translation"]["max_new_tokens"],
        batch_size=config["translation"]["batch_size"],
    shell:
        "{params.torchrun} lape translate --log {log} --gpus {resources.gpu} --rule translate --model {input.model} --pairs {input.pairs} "
        "--setting {wildcards.selection} {params.selected} --template={params.template:q} --stop {params.stop:q} "
        "--max-new-tokens {params.max_new_tokens} --batch-size {params.batch_size} --threads {threads} "
        "--output {output.texts}"
