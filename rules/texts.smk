"""Texts under the expert units: sampled from BOS alone, and translations; one job a model and selection.

Input: the model, and what a selection overwrites: expert units with their medians, or neurons with their mean
activations. A translation has aligned pairs.
Output: JSON lines like those of the answers, and their scores: against held-out sentences, or the pair's own.
"""


rule pairs:
    input:
        texts=pairs_input,
        code=code("lape.commands.pairs"),
    output:
        pairs="<results>/pairs/{corpus}/{language}.jsonl",
        header="<results>/pairs/{corpus}/{language}.json",
    log:
        "<logs>/pairs/{corpus}/{language}.log",
    benchmark:
        "<benchmarks>/pairs/{corpus}/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        origin=lambda wildcards: config["translation"]["corpora"][wildcards.corpus]["source"],
        settings=lambda wildcards: json.dumps(pairs_settings(wildcards)),
        questions=pairs_flags,
        source_language=config["translation"]["source"],
        number=config["translation"]["number"],
    shell:
        "lape pairs --log {log} --rule pairs --corpus {wildcards.corpus} --source-language {params.source_language} "
        "--language {wildcards.language} --source {params.origin} --settings {params.settings:q} {params.questions} "
        "--number {params.number} --output {output.pairs}"


rule sample:
    input:
        model="<results>/models/{model}/model.json",
        selected=selected_files,
        code=code("lape.commands.sample"),
    output:
        texts="<results>/generations/{model}/unconditional/{selection}.jsonl",
        header="<results>/generations/{model}/unconditional/{selection}.json",
    log:
        "<logs>/generations/{model}/unconditional/{selection}.log",
    benchmark:
        "<benchmarks>/generations/{model}/unconditional/{selection}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        torchrun=torchrun,
        languages=EXPERT_LANGUAGES,
        selected=selected_flags,
        sampling=sampling_flags,
        batch_size=config["expert_units"]["sample_batch_size"],
    shell:
        "{params.torchrun} lape sample --log {log} --gpus {resources.gpu} --rule sample --model {input.model} "
        "--setting {wildcards.selection} "
        "--languages {params.languages} {params.selected} {params.sampling} --batch-size {params.batch_size} "
        "--threads {threads} --output {output.texts}"


rule translate:
    input:
        model="<results>/models/{model}/model.json",
        selected=selected_files,
        pairs=pairs_headers,
        rows=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in pairs_headers(wildcards)],
        code=code("lape.commands.translate"),
    output:
        texts="<results>/generations/{model}/translation-{corpus}/{selection}.jsonl",
        header="<results>/generations/{model}/translation-{corpus}/{selection}.json",
    log:
        "<logs>/generations/{model}/translation-{corpus}/{selection}.log",
    benchmark:
        "<benchmarks>/generations/{model}/translation-{corpus}/{selection}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        torchrun=torchrun,
        selected=selected_flags,
        template=lambda wildcards: config["translation"]["template"],
        stop=lambda wildcards: json.dumps(config["translation"]["stop"]),
        max_new_tokens=config["translation"]["max_new_tokens"],
        batch_size=config["translation"]["batch_size"],
    shell:
        "{params.torchrun} lape translate --log {log} --gpus {resources.gpu} --rule translate --model {input.model} --pairs {input.pairs} "
        "--setting {wildcards.selection} {params.selected} --template={params.template:q} --stop {params.stop:q} "
        "--max-new-tokens {params.max_new_tokens} --batch-size {params.batch_size} --threads {threads} "
        "--output {output.texts}"


use rule score as score_sample with:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/generations/{model}/unconditional/{selection}.json",
        answers="<results>/generations/{model}/unconditional/{selection}.jsonl",
        reference=expand("<results>/sentences/{language}.json", language=EXPERT_LANGUAGES),
        normal=expand("<results>/sentences/{language}.jsonl", language=EXPERT_LANGUAGES),
        fasttext=config["scores"]["fasttext"] or [],
        code=code("lape.commands.score"),
    output:
        scores="<results>/scores/{model}/unconditional/{selection}.tsv",
        header="<results>/scores/{model}/unconditional/{selection}.json",
    log:
        "<logs>/scores/{model}/unconditional/{selection}.log",
    benchmark:
        "<benchmarks>/scores/{model}/unconditional/{selection}.tsv"
    params:
        torchrun=torchrun,
        rule="score_sample",
        minimum_bytes=config["scores"]["minimum_bytes"],
        batch_size=config["scores"]["batch_size"],
        fasttext=lambda wildcards: optional("--fasttext", config["scores"]["fasttext"]),


use rule score as score_translation with:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/generations/{model}/translation-{corpus}/{selection}.json",
        answers="<results>/generations/{model}/translation-{corpus}/{selection}.jsonl",
        reference=pairs_headers,
        normal=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in pairs_headers(wildcards)],
        fasttext=config["scores"]["fasttext"] or [],
        code=code("lape.commands.score"),
    output:
        scores="<results>/scores/{model}/translation-{corpus}/{selection}.tsv",
        header="<results>/scores/{model}/translation-{corpus}/{selection}.json",
    log:
        "<logs>/scores/{model}/translation-{corpus}/{selection}.log",
    benchmark:
        "<benchmarks>/scores/{model}/translation-{corpus}/{selection}.tsv"
    params:
        torchrun=torchrun,
        rule="score_translation",
        minimum_bytes=config["scores"]["minimum_bytes"],
        batch_size=config["scores"]["batch_size"],
        fasttext=lambda wildcards: optional("--fasttext", config["scores"]["fasttext"]),
