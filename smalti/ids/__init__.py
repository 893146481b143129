"""Semantic IDs of items: tables, collisions, prefix trees, and IDs as text of language models.

An item is whatever has a name and a few codes.
"""

from smalti.ids.nearest_free import CodeSpace
from smalti.ids.occupancy import Occupancy, occupancy
from smalti.ids.prefix_tree import PrefixTree
from smalti.ids.resolving import (
    COLLISIONS,
    Collisions,
    ResolvedIds,
    check_enough_ids,
    resolve_collisions,
)
from smalti.ids.table import IdTable, holds_ids
from smalti.ids.verdicts import verdicts
from smalti.ids.words import id_strings, level_letters, parse_prefix, special_tokens

__all__ = [
    "COLLISIONS",
    "CodeSpace",
    "Collisions",
    "IdTable",
    "Occupancy",
    "PrefixTree",
    "ResolvedIds",
    "check_enough_ids",
    "holds_ids",
    "id_strings",
    "level_letters",
    "occupancy",
    "parse_prefix",
    "resolve_collisions",
    "special_tokens",
    "verdicts",
]
