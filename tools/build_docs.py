"""Renders docs/*.md and the README to HTML pages and checks that their local links lead somewhere."""

import html
import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{max-width:52rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui}}
pre{{background:#f4f4f4;padding:.8rem;overflow:auto}}code{{font-size:.92em}}
table{{border-collapse:collapse}}td,th{{border:1px solid #ccc;padding:.25rem .6rem}}</style>
{body}</html>
"""


def broken_links(page: Path, text: str) -> list[str]:
    """One line for each relative link of the page whose file does not exist."""
    problems = []
    for match in LINK.finditer(text):
        target = match.group(1)
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
            problems.append(f"{page.relative_to(ROOT)}: link to {target} leads nowhere")
    return problems


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: build_docs.py OUTPUT_FOLDER", file=sys.stderr)
        return 2
    output = Path(sys.argv[1])
    markdown = MarkdownIt("commonmark").enable("table")
    problems = []
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        text = page.read_text()
        problems += broken_links(page, text)
        target = (output / page.relative_to(ROOT)).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        title = html.escape(text.partition("\n")[0].lstrip("# "))
        body = re.sub(r'href="([^":]+)\.md', r'href="\1.html', markdown.render(text))
        target.write_text(PAGE.format(title=title, body=body))
    print("\n".join(problems) if problems else f"docs: {len(pages)} pages in {output}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
