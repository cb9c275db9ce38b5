"""Where a checkpoint's chat template lies among its files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engine.checkpoints.reading import JSON_LIMIT, parse_json_object, read_json_object, read_whole

TOKENIZER_CONFIG = "tokenizer_config.json"
_JINJA = "chat_template.jinja"
_JSON = "chat_template.json"


class _TokenizerConfig(msgspec.Struct):
    """The only member that matters here; a tokenizer_config.json may describe thousands of tokens beside it."""

    chat_template: object = None


_decoder = msgspec.json.Decoder(_TokenizerConfig)


def template_source(directory: Path) -> str:
    """The name of the file that the chat template is taken from, "" when there is none.

    The order is that of transformers: a template in a file of its own comes before tokenizer_config.json. Raises
    UnreadableError for a tokenizer_config.json that is no JSON object.
    """
    for name in (_JINJA, _JSON):
        if (directory / name).is_file():
            return name
    return TOKENIZER_CONFIG if _in_tokenizer_config(directory) else ""


def template_text(directory: Path, source: str) -> str:
    """The template that template_source found. Of several named ones the default; "" when it is not to be had.

    Raises UnreadableError.
    """
    if source == _JINJA:
        return (read_whole(directory / source, JSON_LIMIT) or b"").decode("utf-8", "replace")
    if source == _JSON:
        return _text((read_json_object(directory / source) or {}).get("chat_template"))
    return _text(_in_tokenizer_config(directory)) if source == TOKENIZER_CONFIG else ""


def _in_tokenizer_config(directory: Path) -> object:
    path = directory / TOKENIZER_CONFIG
    data = read_whole(path, JSON_LIMIT)
    if data is None:
        return None
    try:
        return _decoder.decode(data).chat_template
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parse_json_object(path, data).get("chat_template")  # it holds a NaN, or this says what is wrong


def _text(template: object) -> str:
    """A template, or the default of a list of {"name", "template"}."""
    if isinstance(template, list):
        named = {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default", next(iter(named.values()), ""))
    return template if isinstance(template, str) else ""
