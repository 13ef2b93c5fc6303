"""Which checkpoint a model is: its revision, its files' hashes, the shape of its FFN.

Input: a downloaded GGUF file (embedded), a folder (path), or a repository of the hub.
Output: model.json, which every later stage reads, and its fast tokenizer as one file; for GGUF also the checkpoint
converted to safetensors.
"""


rule model_embedded:
    input:
        gguf=lambda wildcards: downloaded(config["catalogue"][wildcards.model]["download"]),
    output:
        weights=directory("<results>/models/{model}/weights"),
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    benchmark:
        "<benchmarks>/models/{model}/model.tsv"
    wildcard_constraints:
        model="|".join(EMBEDDED_MODELS) or "(?!)",
    conda:
        "../envs/lape.yaml"
    params:
        flags=model_flags,
    shell:
        "lape model --log {log} --name {wildcards.model} --gguf {input.gguf} --weights {output.weights} "
        "{params.flags} --output {output.header}"


rule model_path:
    input:
        folder=lambda wildcards: config["catalogue"][wildcards.model]["path"],
    output:
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    benchmark:
        "<benchmarks>/models/{model}/model.tsv"
    wildcard_constraints:
        model="|".join(PATH_MODELS) or "(?!)",
    conda:
        "../envs/lape.yaml"
    params:
        flags=model_flags,
    shell:
        "lape model --log {log} --name {wildcards.model} --path {input.folder} {params.flags} "
        "--output {output.header}"


rule model_hub:
    output:
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    benchmark:
        "<benchmarks>/models/{model}/model.tsv"
    wildcard_constraints:
        model="|".join(HUB_MODELS) or "(?!)",
    retries: 2
    conda:
        "../envs/lape.yaml"
    params:
        repository=lambda wildcards: config["catalogue"][wildcards.model]["hub"],
        revision=lambda wildcards: config["catalogue"][wildcards.model]["revision"],
        flags=model_flags,
    shell:
        "lape model --log {log} --name {wildcards.model} --hub {params.repository} "
        "--revision {params.revision} {params.flags} --output {output.header}"
