"""Language-specific neurons: the lowest activation probability entropy (LAPE), and a random control.

Input: every language's statistics of one model (select); the selected neurons (control).
Output: a table of neurons with layer, index, entropy, probabilities and languages. The control's one set, drawn
from all layers alike, is as large as the largest language's.
"""


rule select:
    input:
        headers=expand("<results>/statistics/{{model}}/{language}.json", language=config["languages"]),
        sums=expand("<results>/statistics/{{model}}/{language}.npz", language=config["languages"]),
        code=code("lape/selection.py", "lape/neurons.py", "lape/commands/select.py"),
    output:
        neurons="<results>/neurons/{model}/lape.tsv",
        header="<results>/neurons/{model}/lape.json",
    log:
        "<logs>/neurons/{model}/lape.log",
    benchmark:
        "<benchmarks>/neurons/{model}/lape.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        ratio=config["neurons"]["ratio"],
        quantile=config["neurons"]["quantile"],
    shell:
        "lape select --log {log} --rule select --statistics {input.headers} --ratio {params.ratio} "
        "--quantile {params.quantile} --output {output.neurons}"


rule control:
    input:
        neurons="<results>/neurons/{model}/lape.tsv",
        header="<results>/neurons/{model}/lape.json",
        code=code("lape/selection.py", "lape/neurons.py", "lape/commands/control.py"),
    output:
        neurons="<results>/neurons/{model}/random.tsv",
        header="<results>/neurons/{model}/random.json",
    log:
        "<logs>/neurons/{model}/random.log",
    benchmark:
        "<benchmarks>/neurons/{model}/random.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        seed=config["neurons"]["control_seed"],
    shell:
        "lape control --log {log} --rule control --neurons {input.header} --seed {params.seed} --output {output.neurons}"
