"""Rewrites jsonargparse's error messages: which field of the recipe, what it got, what to do.

A reason is nested as the recipe is. Each layer says where it is (a key) or what was tried there (a
class, the alternatives of a union); what is wrong stands innermost, before what was tried in vain
further out:

    Parser key "tokenizer": Does not validate against any of the Union subtypes Subtypes: […]
    Errors: - Problem with given class_path '…': Parser key "quantizer": … Option 'frob' is not
    accepted - Expected a <class 'NoneType'> Given value type: … Given value: …
"""

from __future__ import annotations

import re

__all__ = ["explain_error"]

LAYER = re.compile(
    r'Parser key "(?P<key>[\w.]+)": '
    r"|Does not validate against any of the Union subtypes Subtypes: \[.*?\] Errors: - "
    r"|Problem with given class_path '[^']*': "
    r"|Type .*? expects a function or a callable class: "
)
GOT = re.compile(
    r"(Expected .*?)\.? (?:Got value|Given value type: <class '[^']*'> Given value): "
    r"(.*?)(?=\.? - Expected|\. Got value|$)"
)
EXTRA = re.compile(
    r"(?:Group '([\w.]+)' does not accept option|Option) '([^']+)'"
    r"|unrecognized arguments: --([\w.]+)"
)
IN_VAIN = " - Expected a <class 'NoneType'>"
WITH_HELP = ("tokenizer", "prior", "autoencoder")  # parts that may be left out


def explain_error(reason: str) -> str:
    """Rewrites an error message of jsonargparse for users, with the field and how to mend it.

    Example:
        >>> explain_error('Parser key "data": Problem with given class_path \\'Mine\\': '
        ...          'Parser key "size": Expected a <class \\'int\\'>. Got value: x')
        'data.size takes a value of the type int, got x: smalti fit --help lists what goes.'
    """
    place, wrong = _innermost(" ".join(reason.split()))
    if place == "data" and re.search(r"required.*\bpath\b", wrong) or "required: data" in wrong:
        return "it needs data: give --data with a folder, a parquet, or a name on the hub."
    if place == "data" and "Option 'path' is not accepted" in wrong:
        return "it makes its own data: leave --data out, or choose images32 or images64."
    if wrong.startswith("Unexpected config"):
        return "it is not a mapping of fields: start from what smalti recipes clocks-demo prints."
    return _of_a_class(place, wrong) or _of_a_field(place, wrong)


def _innermost(reason: str) -> tuple[str, str]:
    """Returns the dotted place of what is wrong, and what jsonargparse says of it."""
    keys = []
    while layer := LAYER.match(reason):
        keys += [layer["key"]] if layer["key"] else []
        reason = reason[layer.end() :]
    return ".".join(keys), reason


def _of_a_class(place: str, wrong: str) -> str | None:
    """Explains a class that is missing, unknown or not allowed; None for other mistakes."""
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", wrong):
        return (
            f"{place} names {denied[1]}, which a recipe does not import by itself: if you trust "
            f"it, give --allow {denied[1].rpartition('.')[0] or denied[1]} too."
        )
    if "is abstract" in wrong:
        return (
            f"{place} has fields but no class: give --{place} CLASS before them, in a YAML its "
            f"class_path and init_args; {_help(place)} the classes."
        )
    if kind := re.match(r"Not a valid subclass of (\w+)", wrong):
        return f"{place} is not the fields of a {kind[1]}: {_help(place)} them."
    if not (unknown := re.match(r"Expected a dot import path string: (\S+)", wrong)):
        return None
    return f"there is no class {unknown[1]} for {place}: {_help(place)} them."


def _of_a_field(place: str, wrong: str) -> str:
    """Explains the error of a field that is missing, unknown, or has a value of another type."""
    if extra := EXTRA.match(wrong):
        name = _join(place, *extra.groups())
        return f"there is no field {name}: {_help(name)} them."
    if missing := re.search(r"arguments are required: ([\w.]*\w)", wrong):
        return f"it needs {_join(place, missing[1])}: give it, or leave the whole part out."
    if got := GOT.match(wrong):
        return f"{place} takes {_expected(got[1])}, got {got[2]}: {_help(place)} what goes."
    said = wrong.partition(IN_VAIN)[0].removesuffix(".")
    return f"{f'{place}: ' if place else ''}{said}; {_help(place)} the fields."


def _join(*parts: str | None) -> str:
    """Joins the parts that are not empty to a dotted place."""
    return ".".join(part for part in parts if part)


def _expected(wanted: str) -> str:
    """Returns the alternatives that a value has, in words.

    Example:
        >>> _expected("Expected a <class 'int'> - Expected a <class 'NoneType'>")
        'a value of the type int or null'
        >>> _expected("Expected a typing.Literal['center', 'none']")
        "one of 'center', 'none'"
        >>> _expected("Expected a <class 'float'> - Expected a typing.Literal['auto']")
        "a value of the type float, or 'auto'"
    """
    types = [path.rpartition(".")[2] for path in re.findall(r"<class '([\w.]+)'>", wanted)]
    typed = f"a value of the type {' or '.join(types)}".replace("NoneType", "null")
    if choices := re.search(r"Literal\[(.*?)\]", wanted):
        return f"{typed}, or {choices[1]}" if types else f"one of {choices[1]}"
    return typed


def _help(place: str) -> str:
    """Returns the command that lists what goes in a place."""
    part, _, field = place.partition(".")
    of_part = f"RECIPE --{part}.help" if field and part in WITH_HELP else "--help"
    return f"smalti fit {of_part} lists"
