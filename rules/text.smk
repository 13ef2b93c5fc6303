"""From text to tokens: documents, sentences, questions, instructions and pairs of every language, and chunks of tokens.

Input: the downloaded file, files on disk, or a dataset of the hub, which is streamed; for tokens a model's tokenizer
too.
Output: a parquet file of documents (id, text) without duplicates; JSON lines of questions by number, of labelled
sentences (none is both scored and held out), of instructions, and of pairs to translate; int32 chunks of tokens with
the number of bytes that they cover. Each header reports what was read. The splits train and valid share no document,
and neither depends on the other's budget. The corpus is a benchmark, so nothing trains on it: instructions have sources
of their own.
"""


rule corpus:
    input:
        text=inputs.corpus,
    output:
        documents="<results>/corpus{variant}/{language}.parquet",
        header="<results>/corpus{variant}/{language}.json",
    log:
        "<logs>/corpus{variant}/{language}.log",
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.corpus"),
        flags=flags.corpus,
    shell:
        "lape corpus --log {log} --rule corpus --language {wildcards.language} {params.flags} --threads {threads} "
        "--output {output.documents}"


rule sentences:
    input:
        texts=inputs.sentences,
    output:
        sentences="<results>/sentences/{language}.jsonl",
        header="<results>/sentences/{language}.json",
    log:
        "<logs>/sentences/{language}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.sentences"),
        source=config["sentences"]["source"],
        settings=lambda wildcards: json.dumps(inputs.sentences_settings(wildcards)),
        flags=flags.sentences,
        number=config["sentences"]["number"],
        held_out=config["sentences"]["held_out"],
    shell:
        "lape sentences --log {log} --rule sentences --language {wildcards.language} --source {params.source} "
        "--settings {params.settings:q} {params.flags} --number {params.number} --held-out {params.held_out} "
        "--output {output.sentences}"


rule questions:
    input:
        rows=inputs.questions,
    output:
        questions="<results>/questions/{language}.jsonl",
        header="<results>/questions/{language}.json",
    log:
        "<logs>/questions/{language}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.questions"),
        rule="questions",
        settings=lambda wildcards: json.dumps(inputs.questions_settings(wildcards)),
        number=optional("--number", config["questions"]["number"]),
    shell:
        "lape questions --log {log} --rule {params.rule} --language {wildcards.language} --settings {params.settings:q} "
        "{params.number} --output {output.questions}"


use rule questions as aligned with:
    input:
        rows=inputs.aligned,
    output:
        questions="<results>/aligned/{language}.jsonl",
        header="<results>/aligned/{language}.json",
    log:
        "<logs>/aligned/{language}.log",
    params:
        code=code_hash("lape.commands.questions"),
        rule="aligned",
        settings=lambda wildcards: json.dumps(inputs.aligned_settings(wildcards)),
        number=optional("--number", config["structure"]["number"]),


rule instructions:
    input:
        rows=inputs.instructions,
    output:
        examples="<results>/instructions/{language}.jsonl",
        header="<results>/instructions/{language}.json",
    log:
        "<logs>/instructions/{language}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.instructions"),
        source=config["instructions"]["source"],
        settings=lambda wildcards: json.dumps(inputs.instructions_settings(wildcards)),
        examples=optional("--examples", config["instructions"]["examples"]),
    shell:
        "lape instructions --log {log} --rule instructions --language {wildcards.language} --source {params.source} "
        "--settings {params.settings:q} {params.examples} --output {output.examples}"


rule pairs:
    input:
        texts=inputs.pairs,
    output:
        pairs="<results>/pairs/{corpus}/{language}.jsonl",
        header="<results>/pairs/{corpus}/{language}.json",
    log:
        "<logs>/pairs/{corpus}/{language}.log",
    conda:
        "../envs/lape.yaml"
    params:
        code=code_hash("lape.commands.pairs"),
        origin=lambda wildcards: config["translation"]["corpora"][wildcards.corpus]["source"],
        settings=lambda wildcards: json.dumps(inputs.pairs_settings(wildcards)),
        questions=flags.pairs,
        source_language=config["translation"]["source"],
        number=config["translation"]["number"],
    shell:
        "lape pairs --log {log} --rule pairs --corpus {wildcards.corpus} --source-language {params.source_language} "
        "--language {wildcards.language} --source {params.origin} --settings {params.settings:q} {params.questions} "
        "--number {params.number} --output {output.pairs}"


rule tokens:
    input:
        corpus=inputs.documents,
        model=inputs.model("model.json"),
        tokenizer=inputs.model("tokenizer.json"),
    output:
        chunks="<results>/tokens/{model}/{language}/{split}.npy",
        bytes="<results>/tokens/{model}/{language}/{split}.bytes.npy",
        documents="<results>/tokens/{model}/{language}/{split}.documents.npy",
        header="<results>/tokens/{model}/{language}/{split}.json",
    log:
        "<logs>/tokens/{model}/{language}/{split}.log",
    wildcard_constraints:
        model=names.model_or_variant(config),
    conda:
        "../envs/lape.yaml"
    threads: config["threads"]
    resources:
        mem_mb=mem_mb,
        runtime=runtime,
    params:
        code=code_hash("lape.commands.tokens"),
        chunk_length=flags.chunk_length,
        bos=lambda wildcards: flags.bos("tokens", wildcards),
        flags=flags.tokens,
    shell:
        "lape tokens --log {log} --rule tokens --corpus {input.corpus[0]} --model {input.model} --split {wildcards.split} "
        "--chunk-length {params.chunk_length} {params.bos} {params.flags} --threads {threads} --output {output.chunks}"


# Every job of perplexity reads the valid tokens of all languages. This list of hashes is its one input for all of them:
# with a hundred languages, a matrix would have half a million inputs, for which Snakemake needs minutes.
rule valid_tokens:
    input:
        headers=inputs.of_languages("<results>/tokens/{model}/{language}/valid.json"),
        chunks=inputs.of_languages("<results>/tokens/{model}/{language}/valid.npy"),
        bytes=inputs.of_languages("<results>/tokens/{model}/{language}/valid.bytes.npy"),
    output:
        "<results>/tokens/{model}/valid.sha256",
    log:
        "<logs>/tokens/{model}/valid.log",
    wildcard_constraints:
        model=names.model_or_variant(config),
    conda:
        "../envs/lape.yaml"
    shell:
        "sha256sum {input.headers} > {output}.partial 2> {log} && mv {output}.partial {output}"
