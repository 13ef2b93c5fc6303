"""Expert units: outputs of linear layers that tell a language from the others (Kojima et al. 2024).

Input: labelled sentences of every language, and the model.
Output: the mean output of every unit on every sentence (responses); the average precision of every unit as a detector
of every language, by all sentences and by each half of them; the best, the worst and random units with the values that
overwrite them; and the control of the best. The folder responses.blocks is no output of a rule, because Snakemake would
delete its finished blocks before a rerun.
"""


rule responses:
    input:
        model="<results>/models/{model}/model.json",
        headers=expand("<results>/sentences/{language}.json", language=EXPERT_LANGUAGES),
        sentences=expand("<results>/sentences/{language}.jsonl", language=EXPERT_LANGUAGES),
    output:
        table="<results>/expert_units/{model}/responses.tsv",
        header="<results>/expert_units/{model}/responses.json",
    log:
        "<logs>/expert_units/{model}/responses.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        gpu=gpus,
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.responses"),
        torchrun=flags.torchrun,
        architecture=architecture,
        bos=lambda wildcards: flags.bos("expert_units", wildcards),
        max_length=config["expert_units"]["max_length"],
        batch_size=config["expert_units"]["batch_size"],
        storage=config["expert_units"]["storage"],
    shell:
        "{params.torchrun} lape responses --log {log} --gpus {resources.gpu} --rule responses --model {input.model} "
        "--sentences {input.headers} {params.bos} "
        "--max-length {params.max_length} --batch-size {params.batch_size} --storage {params.storage} "
        "--threads {threads} --output {output.header}"


rule average_precision:
    input:
        header="<results>/expert_units/{model}/responses.json",
        table="<results>/expert_units/{model}/responses.tsv",
    output:
        values="<results>/expert_units/{model}/average_precision.npy",
        header="<results>/expert_units/{model}/average_precision.json",
    log:
        "<logs>/expert_units/{model}/average_precision.log",
    conda:
        "../envs/lape.yaml"
    # One thread scores a unit, so the number of threads changes no bit.
    threads: 2
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.average_precision"),
        rule="average_precision",
        half="",
    shell:
        "lape average_precision --log {log} --rule {params.rule} --responses {input.header} {params.half} "
        "--threads {threads} --output {output.values}"


# By every second sentence of each language, so that units can be selected by one half and scored by the other.
use rule average_precision as average_precision_half with:
    output:
        values="<results>/expert_units/{model}/average_precision-{half}.npy",
        header="<results>/expert_units/{model}/average_precision-{half}.json",
    log:
        "<logs>/expert_units/{model}/average_precision-{half}.log",
    wildcard_constraints:
        half="[12]",
    params:
        code=code_hash("lape.commands.average_precision"),
        rule="average_precision_half",
        half=lambda wildcards: f"--half {wildcards.half}",


rule select_units:
    input:
        header="<results>/expert_units/{model}/average_precision.json",
        values="<results>/expert_units/{model}/average_precision.npy",
        responses="<results>/expert_units/{model}/responses.json",
        table="<results>/expert_units/{model}/responses.tsv",
    output:
        units="<results>/expert_units/{model}/units.tsv",
        header="<results>/expert_units/{model}/units.json",
    log:
        "<logs>/expert_units/{model}/units.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.select_units"),
        number=flags.expert_number(),
        seed=config["expert_units"]["seed"],
        bottom=config["expert_units"]["bottom"],
    shell:
        "lape select_units --log {log} --rule select_units --average-precision {input.header} "
        "--responses {input.responses} --number {params.number} --seed {params.seed} --bottom {params.bottom} "
        "--output {output.units}"


rule active_units:
    input:
        units="<results>/expert_units/{model}/units.json",
        units_table="<results>/expert_units/{model}/units.tsv",
        header="<results>/expert_units/{model}/average_precision.json",
        values="<results>/expert_units/{model}/average_precision.npy",
        responses="<results>/expert_units/{model}/responses.json",
        table="<results>/expert_units/{model}/responses.tsv",
    output:
        units="<results>/expert_units/{model}/active_units.tsv",
        header="<results>/expert_units/{model}/active_units.json",
    log:
        "<logs>/expert_units/{model}/active_units.log",
    conda:
        "../envs/lape.yaml"
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.control_units"),
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control_units --log {log} --rule active_units --units {input.units} --average-precision {input.header} "
        "--responses {input.responses} --seed {params.seed} --output {output.units}"
