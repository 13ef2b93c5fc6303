"""Language-specific parameters (PV): a copy of the model is fine-tuned on each language, and changes are compared.

Input: every language's instructions, and the model.
Output: the fine-tuned matrices of MHA and FFN in float32, per language twice the size of the model in bfloat16, and the
same after fewer steps (finetuned/after-{step}, by `experiments.pv_learning_curve`); the parameters that change little in
one or two languages and much in the others; and controls of these parameters: of weights and changes that are about as
large (active_pv), and random ones (matched_pv). The folder finetuned/{language}.checkpoints exists while a training runs.
It is no output, because Snakemake would delete it before a rerun, and a killed job could not go on.
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
        earlier=inputs.earlier_copies(),
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
        rule="select_parameters",
        ratio=config["parameter_variation"]["ratio"],
        change=config["parameter_variation"]["change"],
    shell:
        "lape select_parameters --log {log} --rule {params.rule} --model {input.model} --finetuned {input.headers} "
        "--ratio {params.ratio} --change {params.change} --output {output.parameters}"


use rule select_parameters as select_parameters_after with:
    input:
        model="<results>/models/{model}/model.json",
        headers=inputs.of_languages("<results>/parameters/{model}/finetuned/after-{step}/{language}.json"),
        weights=inputs.of_languages("<results>/parameters/{model}/finetuned/after-{step}/{language}.safetensors"),
    output:
        parameters="<results>/parameters/{model}/pv_after-{step}.safetensors",
        header="<results>/parameters/{model}/pv_after-{step}.json",
    log:
        "<logs>/parameters/{model}/pv_after-{step}.log",
    wildcard_constraints:
        step="[0-9]+",
    params:
        code=code_hash("lape.commands.select_parameters"),
        rule="select_parameters_after",
        ratio=config["parameter_variation"]["ratio"],
        change=config["parameter_variation"]["change"],


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
        rule="control_parameters",
        weights="",
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control_parameters --log {log} --rule {params.rule} --parameters {input.header} {params.weights} "
        "--seed {params.seed} --output {output.parameters}"


use rule control_parameters as magnitude_control with:
    input:
        parameters="<results>/parameters/{model}/pv.safetensors",
        header="<results>/parameters/{model}/pv.json",
        model="<results>/models/{model}/model.json",
        headers=inputs.of_languages("<results>/parameters/{model}/finetuned/{language}.json"),
        weights=inputs.of_languages("<results>/parameters/{model}/finetuned/{language}.safetensors"),
    output:
        parameters="<results>/parameters/{model}/active_pv.safetensors",
        header="<results>/parameters/{model}/active_pv.json",
    log:
        "<logs>/parameters/{model}/active_pv.log",
    params:
        code=code_hash("lape.commands.control_parameters"),
        rule="magnitude_control",
        weights=lambda wildcards, input: f"--model {shlex.quote(input.model)} {optional_list('--finetuned', input.headers)}",
        seed=config["neurons"]["control_seed"],
