"""Which checkpoint a model is: its revision, its files' hashes, the shape of its FFN.

Input: a GGUF file (embedded, gguf), a folder (path), or a repository of the hub.
Output: model.json, which every later stage reads, and its fast tokenizer as one file; for GGUF and for pickles also the
checkpoint converted to safetensors.
"""


rule model_gguf:
    input:
        gguf=gguf,
        code=code("lape.commands.model"),
    output:
        weights=directory("<results>/models/{model}/weights"),
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    benchmark:
        "<benchmarks>/models/{model}/model.tsv"
    wildcard_constraints:
        model=one_of(GGUF_MODELS),
    conda:
        "../envs/lape.yaml"
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        flags=model_flags,
    shell:
        "lape model --log {log} --rule model_gguf --name {wildcards.model} --gguf={input.gguf:q} --weights {output.weights} "
        "{params.flags} --output {output.header}"


rule model_path:
    input:
        files=checkpoint,
        code=code("lape.commands.model"),
    output:
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    benchmark:
        "<benchmarks>/models/{model}/model.tsv"
    wildcard_constraints:
        model=one_of(PATH_MODELS),
    conda:
        "../envs/lape.yaml"
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        folder=lambda wildcards: config["catalogue"][wildcards.model]["path"],
        flags=model_flags,
    shell:
        "lape model --log {log} --rule model_path --name {wildcards.model} --path={params.folder:q} {params.flags} "
        "--output {output.header}"


rule model_hub:
    input:
        code=code("lape.commands.model"),
    output:
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    benchmark:
        "<benchmarks>/models/{model}/model.tsv"
    wildcard_constraints:
        model=one_of(set(HUB_MODELS) - set(PICKLED_MODELS)),
    retries: 2
    conda:
        "../envs/lape.yaml"
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        rule="model_hub",
        repository=lambda wildcards: config["catalogue"][wildcards.model]["hub"],
        revision=lambda wildcards: config["catalogue"][wildcards.model]["revision"],
        weights="",
        flags=model_flags,
    shell:
        "lape model --log {log} --rule {params.rule} --name {wildcards.model} --hub={params.repository:q} "
        "--revision={params.revision:q} {params.weights} {params.flags} --output {output.header}"


use rule model_hub as model_pickled with:
    output:
        weights=directory("<results>/models/{model}/weights"),
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    wildcard_constraints:
        model=one_of(PICKLED_MODELS),
    params:
        rule="model_pickled",
        repository=lambda wildcards: config["catalogue"][wildcards.model]["hub"],
        revision=lambda wildcards: config["catalogue"][wildcards.model]["revision"],
        weights=lambda wildcards, output: f"--pickled --weights {shlex.quote(output.weights)}",
        flags=model_flags,
