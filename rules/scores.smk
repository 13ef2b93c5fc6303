"""Scores of texts: their language, fluency and repetition, and, where a judge is configured, their content quality.

Input: the texts of a setting, the unmodified model, and the texts to compare with: the normal answers, held-out
sentences, or the pairs.
Output: one row per text, and means by language in the header. Calls of a judge are kept in results/judge for all runs.
"""


rule score:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/generations/{model}/{prompt}/{setting}.json",
        answers="<results>/generations/{model}/{prompt}/{setting}.jsonl",
        reference="<results>/generations/{model}/{prompt}/normal.json",
        normal="<results>/generations/{model}/{prompt}/normal.jsonl",
        fasttext=config["scores"]["fasttext"] or [],
    output:
        scores="<results>/scores/{model}/{prompt}/{setting}.tsv",
        header="<results>/scores/{model}/{prompt}/{setting}.json",
    log:
        "<logs>/scores/{model}/{prompt}/{setting}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.score"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="score",
        minimum_bytes=config["scores"]["minimum_bytes"],
        batch_size=config["scores"]["batch_size"],
        identifiers=config["scores"]["identifiers"],
        fasttext=lambda wildcards: optional("--fasttext", config["scores"]["fasttext"]),
    shell:
        "{params.torchrun} lape score --log {log} --gpus {resources.gpu} --rule {params.rule} --model {input.model} "
        "--generations {input.header} "
        "--reference {input.reference} --minimum-bytes {params.minimum_bytes} --batch-size {params.batch_size} "
        "--identifiers {params.identifiers} {params.fasttext} --threads {threads} --output {output.scores}"


use rule score as score_sample with:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/generations/{model}/unconditional/{selection}.json",
        answers="<results>/generations/{model}/unconditional/{selection}.jsonl",
        reference=expand("<results>/sentences/{language}.json", language=EXPERT_LANGUAGES),
        normal=expand("<results>/sentences/{language}.jsonl", language=EXPERT_LANGUAGES),
        fasttext=config["scores"]["fasttext"] or [],
    output:
        scores="<results>/scores/{model}/unconditional/{selection}.tsv",
        header="<results>/scores/{model}/unconditional/{selection}.json",
    log:
        "<logs>/scores/{model}/unconditional/{selection}.log",
    params:
        code=code_hash("lape.commands.score"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="score_sample",
        minimum_bytes=config["scores"]["minimum_bytes"],
        batch_size=config["scores"]["batch_size"],
        identifiers=config["scores"]["identifiers"],
        fasttext=lambda wildcards: optional("--fasttext", config["scores"]["fasttext"]),


use rule score as score_translation with:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/generations/{model}/translation-{corpus}/{selection}.json",
        answers="<results>/generations/{model}/translation-{corpus}/{selection}.jsonl",
        reference=inputs.pairs_headers,
        normal=lambda wildcards: [f"{path.removesuffix('.json')}.jsonl" for path in inputs.pairs_headers(wildcards)],
        fasttext=config["scores"]["fasttext"] or [],
    output:
        scores="<results>/scores/{model}/translation-{corpus}/{selection}.tsv",
        header="<results>/scores/{model}/translation-{corpus}/{selection}.json",
    log:
        "<logs>/scores/{model}/translation-{corpus}/{selection}.log",
    params:
        code=code_hash("lape.commands.score"),
        torchrun=flags.torchrun,
        architecture=architecture,
        rule="score_translation",
        minimum_bytes=config["scores"]["minimum_bytes"],
        batch_size=config["scores"]["batch_size"],
        identifiers=config["scores"]["identifiers"],
        fasttext=lambda wildcards: optional("--fasttext", config["scores"]["fasttext"]),


rule judge:
    input:
        header="<results>/generations/{model}/{prompt}/{setting}.json",
        answers="<results>/generations/{model}/{prompt}/{setting}.jsonl",
        template=config["judge"]["template"] or [],
    output:
        ratings="<results>/judgements/{model}/{prompt}/{setting}.tsv",
        header="<results>/judgements/{model}/{prompt}/{setting}.json",
    log:
        "<logs>/judgements/{model}/{prompt}/{setting}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.judge"),
        settings=lambda wildcards: json.dumps(config["judge"]),
    shell:
        "lape judge --log {log} --rule judge --generations {input.header} --settings {params.settings:q} "
        "--cache results/judge --output {output.ratings}"
