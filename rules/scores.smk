"""How good the answers are: their language, fluency and repetition, and, where a judge is configured, their content.

Input: the answers of a setting, the unmodified model, and the normal answers, which the others are compared with.
Output: one row an answer; means by language in the header. A judge's calls are kept in results/judge, for all runs.
"""


rule score:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/generations/{model}/{prompt}/{setting}.json",
        answers="<results>/generations/{model}/{prompt}/{setting}.jsonl",
        reference="<results>/generations/{model}/{prompt}/normal.json",
        normal="<results>/generations/{model}/{prompt}/normal.jsonl",
        fasttext=config["scores"]["fasttext"] or [],
        code=code("lape.commands.score"),
    output:
        scores="<results>/scores/{model}/{prompt}/{setting}.tsv",
        header="<results>/scores/{model}/{prompt}/{setting}.json",
    log:
        "<logs>/scores/{model}/{prompt}/{setting}.log",
    benchmark:
        "<benchmarks>/scores/{model}/{prompt}/{setting}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        torchrun=torchrun,
        rule="score",
        minimum_bytes=config["scores"]["minimum_bytes"],
        batch_size=config["scores"]["batch_size"],
        fasttext=lambda wildcards: optional("--fasttext", config["scores"]["fasttext"]),
    shell:
        "{params.torchrun} lape score --log {log} --gpus {resources.gpu} --rule {params.rule} --model {input.model} "
        "--generations {input.header} "
        "--reference {input.reference} --minimum-bytes {params.minimum_bytes} --batch-size {params.batch_size} "
        "{params.fasttext} --threads {threads} --output {output.scores}"


rule judge:
    input:
        header="<results>/generations/{model}/{prompt}/{setting}.json",
        answers="<results>/generations/{model}/{prompt}/{setting}.jsonl",
        template=config["judge"]["template"] or [],
        code=code("lape.commands.judge"),
    output:
        ratings="<results>/judgements/{model}/{prompt}/{setting}.tsv",
        header="<results>/judgements/{model}/{prompt}/{setting}.json",
    log:
        "<logs>/judgements/{model}/{prompt}/{setting}.log",
    benchmark:
        "<benchmarks>/judgements/{model}/{prompt}/{setting}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        settings=lambda wildcards: json.dumps(config["judge"]),
    shell:
        "lape judge --log {log} --rule judge --generations {input.header} --settings {params.settings:q} "
        "--cache results/judge --output {output.ratings}"
