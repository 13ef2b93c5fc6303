"""Sentence embeddings after every layer. Figures 6 and 7 compare those of different languages.

Input: aligned sentences of one language, and the model.
Output: one vector per layer and sentence.
"""


rule embed:
    input:
        model="<results>/models/{model}/model.json",
        header="<results>/aligned/{language}.json",
        sentences="<results>/aligned/{language}.jsonl",
    output:
        embeddings="<results>/embeddings/{model}/{language}.npy",
        header="<results>/embeddings/{model}/{language}.json",
    log:
        "<logs>/embeddings/{model}/{language}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.embed"),
        torchrun=flags.torchrun,
        architecture=architecture,
        pooling=config["structure"]["pooling"],
        batch_size=config["structure"]["batch_size"],
    shell:
        "{params.torchrun} lape embed --log {log} --gpus {resources.gpu} --rule embed --model {input.model} "
        "--sentences {input.header} --pooling {params.pooling} "
        "--batch-size {params.batch_size} --threads {threads} --output {output.embeddings}"
