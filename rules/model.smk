"""The checkpoint of a model: its revision, the hashes of its files, and the shape of its FFN.

Input: a GGUF file (embedded, gguf), a folder (path), or a repository of the hub.
Output: model.json, which every later stage reads, and the model's fast tokenizer as one file. For GGUF files and
pickles, the output also has the checkpoint converted to safetensors.
"""


rule model_gguf:
    input:
        gguf=inputs.gguf,
    output:
        weights=directory("<results>/models/{model}/weights"),
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    wildcard_constraints:
        model=one_of(names.models(config, "embedded", "gguf")),
    conda:
        "../envs/lape.yaml"
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.model"),
        architecture=another_architecture,
        flags=flags.model,
    shell:
        "lape model --log {log} --rule model_gguf --name {wildcards.model} --gguf={input.gguf:q} --weights {output.weights} "
        "{params.flags} --output {output.header}"


rule model_path:
    input:
        files=inputs.checkpoint,
    output:
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    wildcard_constraints:
        model=one_of(names.models(config, "path")),
    conda:
        "../envs/lape.yaml"
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.model"),
        folder=lambda wildcards: config["catalogue"][wildcards.model]["path"],
        architecture=another_architecture,
        flags=flags.model,
    shell:
        "lape model --log {log} --rule model_path --name {wildcards.model} --path={params.folder:q} {params.flags} "
        "--output {output.header}"


rule model_hub:
    output:
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    log:
        "<logs>/models/{model}/model.log",
    wildcard_constraints:
        model=one_of(set(names.models(config, "hub")) - set(names.pickled_models(config))),
    retries: 2
    conda:
        "../envs/lape.yaml"
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.model"),
        rule="model_hub",
        repository=lambda wildcards: config["catalogue"][wildcards.model]["hub"],
        revision=lambda wildcards: config["catalogue"][wildcards.model]["revision"],
        weights="",
        architecture=another_architecture,
        flags=flags.model,
    shell:
        "lape model --log {log} --rule {params.rule} --name {wildcards.model} --hub={params.repository:q} "
        "--revision={params.revision:q} {params.weights} {params.flags} --output {output.header}"


use rule model_hub as model_pickled with:
    output:
        weights=directory("<results>/models/{model}/weights"),
        header="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
    wildcard_constraints:
        model=one_of(names.pickled_models(config)),
    params:
        rule="model_pickled",
        repository=lambda wildcards: config["catalogue"][wildcards.model]["hub"],
        revision=lambda wildcards: config["catalogue"][wildcards.model]["revision"],
        weights=lambda wildcards, output: f"--pickled --weights {shlex.quote(output.weights)}",
        architecture=another_architecture,
        flags=flags.model,
