"""`--vary KEY=V1,V2`: one recipe, and a variant for each value of one setting."""

from lang_jepa.errors import LangJepaError

_OPEN, _CLOSE = "[{", "]}"


def parse_vary(text: str) -> tuple[str, list[str]]:
    """The setting, and its values as they were written.

    >>> parse_vary("jepa.weight=0,0.01")
    ('jepa.weight', ['0', '0.01'])
    >>> parse_vary("model.loop_layers=[],[1,2]")
    ('model.loop_layers', ['[]', '[1,2]'])

    Raises:
        LangJepaError: another form, or fewer than two values.
    """
    key, separator, values = text.partition("=")
    found = [value.strip() for value in _split(values)]
    if not separator or "." not in key or len(found) < 2 or not all(found):
        raise LangJepaError(
            f"--vary '{text}' is not understood: give a setting and two values or more, the baseline's first, such as "
            "jepa.weight=0,0.01,0.05"
        )
    return key.strip(), found


def variant_name(key: str, value: str) -> str:
    """What a variant is called; it is a folder's name too."""
    return f"{key}={value}".replace("/", "_")


def _split(values: str) -> list[str]:
    """At commas that stand in no list."""
    parts, depth = [""], 0
    for letter in values:
        depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
