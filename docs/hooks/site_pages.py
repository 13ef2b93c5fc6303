"""What MkDocs calls while it builds the site: pages of other folders join it, and lists are filled in from the code."""

import posixpath
import re
from pathlib import Path

from messages import of_errors, of_warnings
from mkdocs.structure.files import File
from reference import api, captions, commands

ROOT = Path(__file__).resolve().parents[2]
# Pages that lie outside docs/, and their places in the site.
ELSEWHERE = {
    "config/README.md": "reference/configuration.md",
    "results/README.md": "reference/files.md",
    "CONTRIBUTING.md": "contributing.md",
    "bench/README.md": "benchmarks.md",
}
# What the line `<!-- filled in: NAME -->` of a page stands for.
FILLED = {"api": api, "commands": commands, "captions": captions, "errors": of_errors, "warnings": of_warnings}
_FILLED = re.compile(r"^<!-- filled in: (\w+) -->$", re.MULTILINE)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")


def on_files(files, config):
    """Add the pages that lie outside docs/."""
    for source, place in ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point the links of a page, which hold in the repository, at the pages of the site; fill in its lists."""
    place = page.file.src_uri
    source = {of_site: path for path, of_site in ELSEWHERE.items()}.get(place, f"docs/{place}")

    def link(match: re.Match) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in ELSEWHERE or path.startswith("docs/"):
            of_site = ELSEWHERE.get(path, path.removeprefix("docs/"))
            relative = posixpath.relpath(of_site, posixpath.dirname(place) or ".")
            return f"{match['image']}[{match['text']}]({relative}{anchor})"
        return match["text"] if (ROOT / path).exists() else match[0]  # a file that the site does not have

    return _FILLED.sub(lambda match: FILLED[match[1]](), _LINK.sub(link, markdown))
