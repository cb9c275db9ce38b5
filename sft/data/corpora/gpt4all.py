"""GPT4All's prompts with P3: {"prompt", "response", "source"}; prompts may be {"value": text}, and those from Stack
Overflow are HTML.

https://huggingface.co/datasets/nomic-ai/gpt4all_prompt_generations_with_p3
"""

from __future__ import annotations

import html
import re

from sft.data.turns import Made, Record, exchange, field

# A prompt that merely speaks of HTML does not begin with one of these.
_IS_HTML = re.compile(r"\s*<(?:p|pre|div|ul|ol|blockquote|h[1-6])(?:\s[^<>]*)?>", re.IGNORECASE)
_TAG = re.compile(
    r"<(/?)(p|pre|code|br|hr|div|span|a|ul|ol|li|strong|em|b|i|u|s|del|kbd|sup|sub|blockquote|img|h[1-6]|table|tr|td|th"
    r"|tbody|thead)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_BLOCKS = {"p", "div", "ul", "ol", "blockquote", "table", *(f"h{level}" for level in range(1, 7))}


def is_gpt4all(record: Record) -> bool:
    return "prompt" in record and "response" in record and "source" in record


def convert(record: Record) -> Made:
    """Raises RowError."""
    prompt = field(record, "prompt").strip()
    return exchange(plain(prompt) if _IS_HTML.match(prompt) else prompt, field(record, "response").strip())


def plain(source: str) -> str:
    """HTML as plain text: paragraphs apart, code in backticks and fences, lists with dashes; other tags leave nothing.

    What looks like a tag but is none of HTML's stays as it is.
    """
    pieces: list[str] = []
    in_pre = False
    at = 0
    for tag in _TAG.finditer(source):
        pieces.append(html.unescape(source[at : tag.start()]))
        at = tag.end()
        closing, name = bool(tag[1]), tag[2].lower()
        if name == "pre":
            in_pre = not closing
            pieces.append("\n```\n\n" if closing else "\n\n```\n")
        elif name == "code" and not in_pre:
            pieces.append("`")
        elif in_pre:
            pass
        elif name in _BLOCKS:
            pieces.append("\n\n")
        elif name == "li" and not closing:
            pieces.append("\n- ")
        elif name in ("br", "hr") or (name == "tr" and closing):
            pieces.append("\n")
        elif name in ("td", "th") and closing:
            pieces.append(" ")
    pieces.append(html.unescape(source[at:]))
    text = _BLANK_LINES.sub("\n\n", "".join(pieces).replace("\n\n```\n\n", "\n```\n\n"))
    return text.strip()
