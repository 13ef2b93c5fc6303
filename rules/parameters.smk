"""Language-specific parameters (PV): a copy of the model is fine-tuned on each language, and changes are compared.

Input: every language's instructions, and the model.
Output: the fine-tuned matrices of MHA and FFN in float32, per language twice the size of the model in bfloat16; the
parameters that change little in one or two languages and much in the others; and a random control of these
parameters. The folder finetuned/{language}.checkpoints exists while a training runs. It is no output, because Snakemake
would delete it before a rerun, and a killed job could not go on.
"""


rule finetune:
    input:
        model="<results>/models/{model}/model.json",
        tokenizer="<results>/models/{model}/tokenizer.json",
        instructions="<results>/instructions/{language}.json",
        data="<results>/instructions/{language}.jsonl",
        launcher=config["parameter_variation"]["launcher"] or [],
    output:
        weights="<results>/parameters/{model}/finetuned/{language}.safetensors",
        header="<results>/parameters/{model}/finetuned/{language}.json",
    log:
        "<logs>/parameters/{model}/finetuned/{language}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
        # It is no parameter of the rule: it changes no number of the result, and changing it must not rerun a training.
        checkpoint_steps=config["parameter_variation"]["checkpoint_steps"] or 0,
    params:
        code=code_hash("lape.commands.finetune"),
        # These are functions because Snakemake would replace text in braces in plain strings.
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
    output:
        parameters="<results>/parameters/{model}/pv.safetensors",
        header="<results>/parameters/{model}/pv.json",
    log:
        "<logs>/parameters/{model}/pv.log",
    conda:
        "../envs/lape.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.select_parameters"),
        ratio=config["parameter_variation"]["ratio"],
    shell:
        "lape select_parameters --log {log} --rule select_parameters --model {input.model} --finetuned {input.headers} "
        "--ratio {params.ratio} --output {output.parameters}"


rule control_parameters:
    input:
        parameters="<results>/parameters/{model}/pv.safetensors",
        header="<results>/parameters/{model}/pv.json",
    output:
        parameters="<results>/parameters/{model}/matched_pv.safetensors",
        header="<results>/parameters/{model}/matched_pv.json",
    log:
        "<logs>/parameters/{model}/matched_pv.log",
    conda:
        "../envs/lape.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.control_parameters"),
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control_parameters --log {log} --rule control_parameters --parameters {input.header} "
        "--seed {params.seed} --output {output.parameters}"
