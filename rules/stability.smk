"""How sure the neurons are: selected anew from the shards of the statistics, and by one method and another.

Input: the neurons, and the statistics with the shards beside them (stability); neurons of several methods (agreement).
Output: selections from random groups of shards, from resamples of shards and without one language; tables and
figures of these, each figure drawn from its table and nothing else. No forward pass is repeated.
"""


rule reselect:
    input:
        statistics=of_languages("<results>/statistics/{model}/{language}.json"),
        neurons="<results>/neurons/{model}/lape.tsv",
        header="<results>/neurons/{model}/lape.json",
        code=code("lape.commands.stability"),
    output:
        header="<results>/stability/{model}.json",
        parts=multiext(
            "<results>/stability/{model}", ".splits.tsv", ".resamples.tsv", ".frequency.tsv", ".left_out.tsv"
        ),
    log:
        "<logs>/stability/{model}.log",
    benchmark:
        "<benchmarks>/stability/{model}.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["stability"]["resamples"],
        seed=config["stability"]["seed"],
    shell:
        "lape stability --log {log} --rule reselect --statistics {input.statistics} --neurons {input.header} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.header}"


rule stability_table:
    input:
        headers=expand("<results>/stability/{model}.json", model=models_of("stability")),
        parts=expand(
            "<results>/stability/{model}.{part}.tsv",
            model=models_of("stability"),
            part=["splits", "resamples", "frequency", "left_out"],
        ),
        code=repository_files(
            "lape/neurons/stability.py",
            "lape/neurons/convergence.py",
            "lape/neurons/agreement.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/stability.csv",
            caption="captions/stability.rst",
            category="Tables",
            labels={"item": "Stability: how sure the neurons are"},
        ),
        texts=multiext("<results>/tables/stability", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/stability.log",
    benchmark:
        "<benchmarks>/tables/stability.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule stability_table stability {input.headers} --output {output.csv}"


rule stability_curve_table:
    input:
        headers=expand("<results>/stability/{model}.json", model=models_of("stability")),
        parts=expand(
            "<results>/stability/{model}.{part}.tsv",
            model=models_of("stability"),
            part=["splits", "resamples", "frequency", "left_out"],
        ),
        code=repository_files(
            "lape/neurons/stability.py",
            "lape/neurons/convergence.py",
            "lape/neurons/agreement.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/stability_curve.csv",
            caption="captions/stability_curve.rst",
            category="Tables",
            labels={"item": "Data of stability over tokens"},
        ),
        texts=multiext("<results>/tables/stability_curve", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/stability_curve.log",
    benchmark:
        "<benchmarks>/tables/stability_curve.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule stability_curve_table stability_curve {input.headers} --output {output.csv}"


rule left_out:
    input:
        headers=expand("<results>/stability/{model}.json", model=LEFT_OUT_MODELS),
        parts=expand(
            "<results>/stability/{model}.{part}.tsv",
            model=LEFT_OUT_MODELS,
            part=["splits", "resamples", "frequency", "left_out"],
        ),
        code=repository_files(
            "lape/neurons/stability.py",
            "lape/neurons/convergence.py",
            "lape/neurons/agreement.py",
            "lape/items/**/*.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/left_out.csv",
            caption="captions/left_out.rst",
            category="Tables",
            labels={"item": "Stability: one language left out"},
        ),
        texts=multiext("<results>/tables/left_out", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/left_out.log",
    benchmark:
        "<benchmarks>/tables/left_out.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule left_out left_out {input.headers} --output {output.csv}"


rule agreement_table:
    input:
        headers=expand(
            "<results>/neurons/{model}/{method}.json",
            model=models_of("agreement"),
            method=["lape", "lap", "lave", "random"],
        ),
        tables=expand(
            "<results>/neurons/{model}/{method}.tsv",
            model=models_of("agreement"),
            method=["lape", "lap", "lave", "random"],
        ),
        code=repository_files(
            "lape/neurons/agreement.py", "lape/neurons/table.py", "lape/items/**/*.py", "lape/commands/table.py"
        ),
    output:
        csv=report(
            "<results>/tables/agreement.csv",
            caption="captions/agreement.rst",
            category="Tables",
            labels={"item": "Agreement between methods"},
        ),
        texts=multiext("<results>/tables/agreement", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/agreement.log",
    benchmark:
        "<benchmarks>/tables/agreement.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule agreement_table agreement {input.headers} --output {output.csv}"


rule stability:
    input:
        table="<results>/tables/stability.csv",
        code=repository_files(
            "lape/neurons/agreement.py",
            "lape/items/**/*.py",
            "lape/items/**/*.py",
            "lape/commands/figure.py",
        ),
    output:
        svg=report(
            "<results>/figures/stability.svg",
            caption="captions/stability.rst",
            category="Figures",
            labels={"item": "Stability: how sure the neurons are"},
        ),
        pdf="<results>/figures/stability.pdf",
        others=multiext("<results>/figures/stability", ".png", ".json"),
    log:
        "<logs>/figures/stability.log",
    benchmark:
        "<benchmarks>/figures/stability.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule stability stability {input.table} --output {output.pdf}"


rule stability_curve:
    input:
        table="<results>/tables/stability_curve.csv",
        code=repository_files(
            "lape/neurons/convergence.py",
            "lape/neurons/agreement.py",
            "lape/items/**/*.py",
            "lape/items/**/*.py",
            "lape/commands/figure.py",
        ),
    output:
        svg=report(
            "<results>/figures/stability_curve.svg",
            caption="captions/stability_curve.rst",
            category="Figures",
            labels={"item": "Stability over tokens"},
        ),
        pdf="<results>/figures/stability_curve.pdf",
        others=multiext("<results>/figures/stability_curve", ".png", ".json"),
    log:
        "<logs>/figures/stability_curve.log",
    benchmark:
        "<benchmarks>/figures/stability_curve.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule stability_curve stability_curve {input.table} --output {output.pdf}"


rule agreement:
    input:
        table="<results>/tables/agreement.csv",
        code=repository_files(
            "lape/neurons/agreement.py", "lape/items/**/*.py", "lape/items/**/*.py", "lape/commands/figure.py"
        ),
    output:
        svg=report(
            "<results>/figures/agreement.svg",
            caption="captions/agreement.rst",
            category="Figures",
            labels={"item": "Agreement between methods"},
        ),
        pdf="<results>/figures/agreement.pdf",
        others=multiext("<results>/figures/agreement", ".png", ".json"),
    log:
        "<logs>/figures/agreement.log",
    benchmark:
        "<benchmarks>/figures/agreement.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape figure --log {log} --rule agreement agreement {input.table} --output {output.pdf}"
