"""The tables of expert units, and of their comparison with LAPE: tidy CSV, and Markdown and LaTeX to read.

Input: expert units and average precision; scores of the texts; neurons and perplexity for the comparison.
Output: one file an item; one observation a row. The same resamples and seed give the same bytes.
"""


rule expert_precision_table:
    input:
        headers=precision_headers,
        data=beside(precision_headers),
        code=repository_files(
            "lape/items/**/*.py",
            "lape/paper/*",
            "lape/expert_units/selection.py",
            "lape/model/linear.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_precision.csv",
            caption="captions/expert_precision.rst",
            category="Tables",
            labels={"item": "Average precision of the expert units"},
        ),
        texts=multiext("<results>/tables/expert_precision", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_precision.log",
    benchmark:
        "<benchmarks>/tables/expert_precision.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        size=config["expert_units"]["size"],
    shell:
        "lape table --log {log} --rule expert_precision_table expert_precision {input.headers} "
        "--size {params.size} --output {output.csv}"


rule expert_overlap_table:
    input:
        headers=units_headers,
        data=beside(units_headers),
        code=repository_files(
            "lape/items/**/*.py",
            "lape/paper/*",
            "lape/expert_units/selection.py",
            "lape/model/linear.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_overlap.csv",
            caption="captions/expert_overlap.rst",
            category="Tables",
            labels={"item": "Expert units that languages share"},
        ),
        texts=multiext("<results>/tables/expert_overlap", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_overlap.log",
    benchmark:
        "<benchmarks>/tables/expert_overlap.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        size=config["expert_units"]["size"],
    shell:
        "lape table --log {log} --rule expert_overlap_table expert_overlap {input.headers} "
        "--size {params.size} --output {output.csv}"


rule expert_layers_table:
    input:
        headers=units_headers,
        data=beside(units_headers),
        code=repository_files(
            "lape/items/**/*.py",
            "lape/paper/*",
            "lape/expert_units/selection.py",
            "lape/model/linear.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_layers.csv",
            caption="captions/expert_layers.rst",
            category="Tables",
            labels={"item": "Expert units by layer and kind of layer"},
        ),
        texts=multiext("<results>/tables/expert_layers", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_layers.log",
    benchmark:
        "<benchmarks>/tables/expert_layers.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        size=config["expert_units"]["size"],
    shell:
        "lape table --log {log} --rule expert_layers_table expert_layers {input.headers} "
        "--size {params.size} --output {output.csv}"


rule expert_histogram_table:
    input:
        headers=precision_headers,
        data=beside(precision_headers),
        code=repository_files(
            "lape/items/**/*.py",
            "lape/paper/*",
            "lape/expert_units/selection.py",
            "lape/model/linear.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_histogram.csv",
            caption="captions/expert_histogram.rst",
            category="Tables",
            labels={"item": "Average precision of all units"},
        ),
        texts=multiext("<results>/tables/expert_histogram", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_histogram.log",
    benchmark:
        "<benchmarks>/tables/expert_histogram.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        size=config["expert_units"]["size"],
    shell:
        "lape table --log {log} --rule expert_histogram_table expert_histogram {input.headers} "
        "--size {params.size} --output {output.csv}"


rule expert_share_table:
    input:
        headers=expert_share_headers,
        scores=beside(expert_share_headers),
        answers=answers_of(expert_share_headers),
        code=repository_files(
            "lape/evaluation/uncertainty.py",
            "lape/items/**/*.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/paper/*",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_share.csv",
            caption="captions/expert_share.rst",
            category="Tables",
            labels={"item": "Texts in the target language under expert units"},
        ),
        texts=multiext("<results>/tables/expert_share", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_share.log",
    benchmark:
        "<benchmarks>/tables/expert_share.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule expert_share_table expert_share {input.headers} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule expert_sizes_table:
    input:
        headers=expert_sizes_headers,
        scores=beside(expert_sizes_headers),
        answers=answers_of(expert_sizes_headers),
        code=repository_files(
            "lape/evaluation/uncertainty.py",
            "lape/items/**/*.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_sizes.csv",
            caption="captions/expert_sizes.rst",
            category="Tables",
            labels={"item": "Texts in the target language, by number of units"},
        ),
        texts=multiext("<results>/tables/expert_sizes", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_sizes.log",
    benchmark:
        "<benchmarks>/tables/expert_sizes.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule expert_sizes_table expert_sizes {input.headers} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule expert_translation_table:
    input:
        headers=expert_translation_headers,
        scores=beside(expert_translation_headers),
        answers=answers_of(expert_translation_headers),
        pairs=translated_pairs,
        code=repository_files(
            "lape/evaluation/uncertainty.py",
            "lape/items/**/*.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/evaluation/scores.py",
            "lape/text/pairs.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_translation.csv",
            caption="captions/expert_translation.rst",
            category="Tables",
            labels={"item": "Translations under expert units"},
        ),
        texts=multiext("<results>/tables/expert_translation", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_translation.log",
    benchmark:
        "<benchmarks>/tables/expert_translation.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule expert_translation_table expert_translation {input.headers} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule expert_agreement_table:
    input:
        headers=expert_agreement_headers,
        tables=beside(expert_agreement_headers),
        code=repository_files("lape/neurons/agreement.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/expert_agreement.csv",
            caption="captions/expert_agreement.rst",
            category="Tables",
            labels={"item": "Neurons by LAPE and by average precision: overlap"},
        ),
        texts=multiext("<results>/tables/expert_agreement", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_agreement.log",
    benchmark:
        "<benchmarks>/tables/expert_agreement.tsv"
    conda:
        "../envs/lape.yaml"
    shell:
        "lape table --log {log} --rule expert_agreement_table expert_agreement {input.headers} --output {output.csv}"


rule expert_deactivation_table:
    input:
        headers=expert_deactivation_headers,
        chunks=beside(expert_deactivation_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/expert_deactivation.csv",
            caption="captions/expert_deactivation.rst",
            category="Tables",
            labels={"item": "LAPE and expert units: perplexity under deactivation"},
        ),
        texts=multiext("<results>/tables/expert_deactivation", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_deactivation.log",
    benchmark:
        "<benchmarks>/tables/expert_deactivation.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule expert_deactivation_table expert_deactivation {input.headers} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule expert_diagonality_table:
    input:
        headers=expert_deactivation_headers,
        chunks=beside(expert_deactivation_headers),
        code=repository_files("lape/evaluation/uncertainty.py", "lape/items/**/*.py", "lape/commands/table.py"),
    output:
        csv=report(
            "<results>/tables/expert_diagonality.csv",
            caption="captions/expert_diagonality.rst",
            category="Tables",
            labels={"item": "LAPE and expert units: diagonality"},
        ),
        texts=multiext("<results>/tables/expert_diagonality", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_diagonality.log",
    benchmark:
        "<benchmarks>/tables/expert_diagonality.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["perplexity"]["resamples"],
        seed=config["perplexity"]["seed"],
    shell:
        "lape table --log {log} --rule expert_diagonality_table expert_diagonality {input.headers} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.csv}"


rule expert_steering_table:
    input:
        headers=expert_steering_headers,
        scores=beside(expert_steering_headers),
        answers=answers_of(expert_steering_headers),
        code=repository_files(
            "lape/evaluation/uncertainty.py",
            "lape/items/**/*.py",
            "lape/text/identification.py",
            "lape/generation/answers.py",
            "lape/commands/table.py",
        ),
    output:
        csv=report(
            "<results>/tables/expert_steering.csv",
            caption="captions/expert_steering.rst",
            category="Tables",
            labels={"item": "LAPE and expert units: steering"},
        ),
        texts=multiext("<results>/tables/expert_steering", ".md", ".tex", ".json"),
    log:
        "<logs>/tables/expert_steering.log",
    benchmark:
        "<benchmarks>/tables/expert_steering.tsv"
    conda:
        "../envs/lape.yaml"
    params:
        resamples=config["scores"]["resamples"],
        seed=config["scores"]["seed"],
    shell:
        "lape table --log {log} --rule expert_steering_table expert_steering {input.headers} "
        "--resamples {params.resamples} --seed {params.seed} --output {output.csv}"
