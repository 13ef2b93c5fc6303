"""The tables of perplexity, and the data of its figures: tidy CSV, and Markdown and LaTeX to read.

Input: headers of perplexity rows, and the chunks beside them. Every item but the baseline takes whole matrices (figure4:
one row at several ratios) with their baseline; a method's layer-matched control among them is what its cells are tested
against.
Output: one file an item, named as in the paper; one observation a row. The same resamples and seed give the same bytes.
"""


rule baseline_table:
    input:
        headers=baseline_headers,
        code=repository_files("lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/baseline.csv",
            caption="captions/baseline.rst",
            category="Tables",
            labels={"item": "Perplexity without deactivation"},
        ),
        texts=multiext("<results>/tables/baseline", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/baseline.log",
    benchmark:
        "<benchmarks>/tables/baseline.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule baseline_table baseline {input.headers} --output {output.csv}"


rule deactivation_table:
    input:
        headers=deactivation_headers,
        chunks=beside(deactivation_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/deactivation.csv",
            caption="captions/deactivation.rst",
            category="Tables",
            labels={"item": "LAPE and its control: perplexity under deactivation"},
        ),
        texts=multiext("<results>/tables/deactivation", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/deactivation.log",
    benchmark:
        "<benchmarks>/tables/deactivation.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule deactivation_table deactivation {input.headers} --resamples {params.resamples} "
        "--seed {params.seed} --output {output.csv}"


rule figure2_table:
    input:
        headers=figure2_headers,
        chunks=beside(figure2_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/figure2.csv",
            caption="captions/figure2.rst",
            category="Tables",
            labels={"item": "Data of Figure 2: perplexity under deactivation, all methods"},
        ),
        texts=multiext("<results>/tables/figure2", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure2.log",
    benchmark:
        "<benchmarks>/tables/figure2.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule figure2_table figure2 {input.headers} --resamples {params.resamples} "
        "--seed {params.seed} --output {output.csv}"


rule figure3_table:
    input:
        headers=figure3_headers,
        chunks=beside(figure3_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/figure3.csv",
            caption="captions/figure3.rst",
            category="Tables",
            labels={"item": "Data of Figure 3: perplexity under deactivation, all models"},
        ),
        texts=multiext("<results>/tables/figure3", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure3.log",
    benchmark:
        "<benchmarks>/tables/figure3.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule figure3_table figure3 {input.headers} --resamples {params.resamples} "
        "--seed {params.seed} --output {output.csv}"


rule figure4_table:
    input:
        headers=figure4_headers,
        chunks=beside(figure4_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/figure4.csv",
            caption="captions/figure4.rst",
            category="Tables",
            labels={"item": "Data of Figure 4: perplexity by share of neurons selected"},
        ),
        texts=multiext("<results>/tables/figure4", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure4.log",
    benchmark:
        "<benchmarks>/tables/figure4.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule figure4_table figure4 {input.headers} --resamples {params.resamples} "
        "--seed {params.seed} --output {output.csv}"


rule figure8_table:
    input:
        headers=figure8_headers,
        chunks=beside(figure8_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/figure8.csv",
            caption="captions/figure8.rst",
            category="Tables",
            labels={"item": "Data of Figure 8: perplexity under deactivation, random neurons"},
        ),
        texts=multiext("<results>/tables/figure8", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/figure8.log",
    benchmark:
        "<benchmarks>/tables/figure8.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule figure8_table figure8 {input.headers} --resamples {params.resamples} "
        "--seed {params.seed} --output {output.csv}"


rule diagonality:
    input:
        headers=diagonality_headers,
        chunks=beside(diagonality_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/diagonality.csv",
            caption="captions/diagonality.rst",
            category="Tables",
            labels={"item": "Diagonality of every matrix"},
        ),
        texts=multiext("<results>/tables/diagonality", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/diagonality.log",
    benchmark:
        "<benchmarks>/tables/diagonality.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule diagonality diagonality {input.headers} --resamples {params.resamples} "
        "--seed {params.seed} --output {output.csv}"
