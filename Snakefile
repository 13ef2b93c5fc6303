# Artifacts, in the order in which data flow. <results> is results/<run>; every data file has a JSON header beside it.
#
#   results/downloads/{download}/{file}          download    pinned files of the package index, shared by runs
#   <results>/config.json                        config      the configuration of the run, complete
#   <results>/corpus/{language}.parquet          corpus      documents: id, text
#   <results>/models/{model}/model.json          model       which checkpoint, its shape; tokenizer.json, weights/
#   <results>/tokens/{model}/{language}/
#             {split}.npy, {split}.bytes.npy     tokens      int32 [chunks, length]; split is train or valid
#   <results>/tokens/{model}/valid.sha256        valid_tokens  hashes of all languages' valid headers
#   <results>/statistics/{model}/{language}.npz  statistics  exact sums [layers, neurons]; {language}.shards/
#   <results>/neurons/{model}/
#             {method}.tsv                       select      language-specific neurons: lape, lave, lap
#             sweep-{ratio}.tsv                  sweep       LAPE's at another ratio
#             random.tsv, matched_{method}.tsv   random_control, matched_control  random controls
#   <results>/stability/{model}.json             measure_stability  how sure the neurons are, from the statistics' shards
#   <results>/instructions/{language}.jsonl      instructions  what PV trains on
#   <results>/parameters/{model}/
#             finetuned/{language}.safetensors   finetune    a copy of the model trained on one language
#             pv.safetensors                     select_parameters  language-specific parameters
#             matched_pv.safetensors             control_parameters  random control of them
#   <results>/steering/{model}/{method}.tsv      steering    mean activations to steer with
#   <results>/questions/{language}.jsonl         questions   what the model is asked; aligned/ where Figure 6 has others
#   <results>/generations/{model}/{prompt}/
#             {setting}.jsonl                    generate    answers: normal, deactivated, steered, cross-lingual
#   <results>/scores/{model}/{prompt}/
#             {setting}.tsv                      score       their language, fluency, repetition, by answer
#   <results>/judgements/{model}/{prompt}/
#             {setting}.tsv                      judge       their content quality, where a judge is configured
#   <results>/sentences/{language}.jsonl         sentences   labelled sentences: scored, and held out
#   <results>/expert_units/{model}/
#             responses.json, .tsv, .blocks/     responses   mean output of every unit of every linear layer
#             average_precision.npy              average_precision  of every unit as a detector of every language
#             units.tsv                          select_units  the best, the worst and random ones, with their medians
#   <results>/neurons/{model}/ap.tsv             select_ap   FFN neurons by average precision, as many as LAPE's
#   <results>/pairs/{corpus}/{language}.jsonl    pairs       what is translated, and how it should be
#   <results>/generations/{model}/
#             unconditional/{selection}.jsonl    sample      texts from BOS alone, expert units overwritten
#             translation-{corpus}/{selection}.jsonl  translate  translations likewise; both are scored as answers are
#   <results>/embeddings/{model}/{language}.npy  embed       of the aligned sentences, behind every layer
#   <results>/perplexity/{model}/{method}/
#             {deactivated}.tsv                  perplexity  one row of the matrix, by chunk
#   <results>/tables/{item}.csv, .md, .tex       table       items named as in the paper
#   <results>/figures/{item}.pdf, .svg, .png     figure
#   <results>/manifest.json                      manifest    every artifact of the default target: hash and provenance
#   <results>/report.html                        report      its tables and figures with captions
#   <results>/paper/manifest.json, report.html   paper       the same of the target `paper`; expert_units/ likewise
#   <logs>, <benchmarks>                         logs/ and benchmarks/ of the run, one file a job


configfile: f"{workflow.basedir}/config/config.yaml"


include: "rules/common.smk"


pathvars:
    results=f"results/{config['run']}",
    logs=f"results/{config['run']}/logs",
    benchmarks=f"results/{config['run']}/benchmarks",


rule all:
    default_target: True
    input:
        "<results>/manifest.json",
        "<results>/report.html",
    localrule: True


rule paper:
    input:
        "<results>/paper/manifest.json",
        "<results>/paper/report.html",
    localrule: True


rule expert_units:
    input:
        "<results>/expert_units/manifest.json",
        "<results>/expert_units/report.html",
    localrule: True


rule comparison:
    input:
        in_one_line(lambda wildcards: targets.comparison(config)),
    localrule: True


rule tables:
    input:
        targets.tables(targets.items(config, "paper")),
    localrule: True


rule figures:
    input:
        targets.figures(targets.items(config, "paper")),
    localrule: True


include: "rules/download.smk"
include: "rules/text.smk"
include: "rules/model.smk"
include: "rules/statistics.smk"
include: "rules/neurons.smk"
include: "rules/parameters.smk"
include: "rules/expert_units.smk"
include: "rules/generation.smk"
include: "rules/scores.smk"
include: "rules/perplexity.smk"
include: "rules/structure.smk"
include: "rules/items.smk"
include: "rules/report.smk"


onsuccess:
    print_outputs()
