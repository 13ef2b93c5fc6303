"""Content quality of answers: a language model behind an OpenAI-compatible endpoint rates each from 1 to 10."""

import logging
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lape.artifacts.files import sha256, write_header
from lape.commands.arguments import json_object

logger = logging.getLogger(__name__)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--generations", type=Path, required=True, metavar="PATH", help="SETTING.json of the answers")
    parser.add_argument(
        "--settings", required=True, type=json_object, metavar="JSON", help="section judge of the configuration"
    )
    parser.add_argument(
        "--cache", type=Path, required=True, metavar="FOLDER", help="folder of verdicts, which several runs may share"
    )
    parser.add_argument("--estimate", action="store_true", help="say what the calls would cost, and make none")
    parser.add_argument("--output", type=Path, required=True, help="SETTING.tsv; SETTING.json beside it")


def run(arguments: Namespace) -> None:
    import asyncio

    from lape.evaluation.judging.cache import VerdictCache
    from lape.evaluation.judging.endpoint import ask
    from lape.evaluation.judging.judge import SYSTEM, TEMPLATE, Judge, judgements, summary, write_judgements
    from lape.generation.answers import COPIED, read_answers

    judge = Judge.from_settings(arguments.settings)
    header, answers = read_answers(arguments.generations)
    requests = [judge.request(answer["question"], answer["output"]) for answer in answers]
    cache = VerdictCache(arguments.cache, judge.base_url)
    label = f"judge {header['model']} {header['prompt']} {header['setting']}"
    estimate = judge.estimate(cache.missing(requests))
    logger.info("%s: %d answers, %s", label, len(answers), estimate)
    if arguments.estimate:
        return
    judge.check_budget(estimate)
    asyncio.run(ask(judge, requests, cache, label))

    entries = [cache.read(request) for request in requests]
    table = judgements(answers, [entry and entry["verdict"] for entry in entries])
    write_judgements(table, arguments.output)
    template = [judge.template] if judge.template else []
    write_header(
        arguments.output.with_suffix(".json"),
        "judgements",
        **{name: header[name] for name in COPIED},
        rows=summary(table),
        judge={
            "base_url": judge.base_url,
            "model": judge.model,
            "served": sorted({entry["served"] for entry in entries if entry and entry["served"]}),
            "system": SYSTEM,
            "template": judge.template or "single-v1 (Zheng et al. 2023)",
            "template_sha256": sha256(judge.template or TEMPLATE),
        },
        parameters={**judge.parameters, "allowed_failures": judge.allowed_failures},
        inputs=[arguments.generations, arguments.generations.with_suffix(".jsonl"), *template],
        outputs=[arguments.output],
    )
    counts = table["status"].value_counts()
    logger.info("%s: %s", label, ", ".join(f"{status} {count}" for status, count in counts.items()))
