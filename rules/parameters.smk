"""Language-specific parameters (PV): a copy of the model fine-tuned on each language, and what changed in it.

Input: every language's instructions and the model.
Output: the fine-tuned matrices of MHA and FFN, float32, as large as twice the model in bfloat16 for every language;
the parameters that hardly change in one or two languages and much in the others; a random control of them. The folder
finetuned/{language}.checkpoints lies there while a training runs; it is no output, so that a killed job can go on.
"""


rule finetune:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        instructions="<results>/instructions/{language}.json",
        data="<results>/instructions/{language}.jsonl",
        launcher=config["parameter_variation"]["launcher"] or [],
        code=code("lape.commands.finetune"),
    output:
        weights="<results>/parameters/{model}/finetuned/{language}.safetensors",
        header="<results>/parameters/{model}/finetuned/{language}.json",
    log:
        "<logs>/parameters/{model}/finetuned/{language}.log",
    benchmark:
        "<benchmarks>/parameters/{model}/finetuned/{language}.tsv"
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
        # Not among the parameters: it shapes no number, and a change must not train again.
        checkpoint_steps=config["parameter_variation"]["checkpoint_steps"] or 0,
    params:
        # Functions: Snakemake would replace what stands in braces in plain strings.
        launcher=lambda wildcards: flags.launcher(),
        architecture=architecture,
        flags=lambda wildcards: flags.finetuning(),
    shell:
        "lape claim {resources.gpu} -- {params.launcher} lape finetune --log {log} --rule finetune --model {input.model} "
        "--instructions {input.instructions} {params.flags} --checkpoint-steps {resources.checkpoint_steps} "
        "--threads {threads} --output {output.weights}"


rule select_parameters:
    input:
        model="<results>/models/{model}/model.json",
        headers=inputs.of_languages("<results>/parameters/{model}/finetuned/{language}.json"),
        weights=inputs.of_languages("<results>/parameters/{model}/finetuned/{language}.safetensors"),
        code=code("lape.commands.select_parameters"),
    output:
        parameters="<results>/parameters/{model}/pv.safetensors",
        header="<results>/parameters/{model}/pv.json",
    log:
        "<logs>/parameters/{model}/pv.log",
    benchmark:
        "<benchmarks>/parameters/{model}/pv.tsv"
    conda:
        "../envs/lape.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        ratio=config["parameter_variation"]["ratio"],
    shell:
        "lape select_parameters --log {log} --rule select_parameters --model {input.model} --finetuned {input.headers} "
        "--ratio {params.ratio} --output {output.parameters}"


rule control_parameters:
    input:
        parameters="<results>/parameters/{model}/pv.safetensors",
        header="<results>/parameters/{model}/pv.json",
        code=code("lape.commands.control_parameters"),
    output:
        parameters="<results>/parameters/{model}/matched_pv.safetensors",
        header="<results>/parameters/{model}/matched_pv.json",
    log:
        "<logs>/parameters/{model}/matched_pv.log",
    benchmark:
        "<benchmarks>/parameters/{model}/matched_pv.tsv"
    conda:
        "../envs/lape.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control_parameters --log {log} --rule control_parameters --parameters {input.header} "
        "--seed {params.seed} --output {output.parameters}"
