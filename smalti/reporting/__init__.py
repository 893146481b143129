"""The parts of reports: figures with their protocols, blocks, sections, and measurements."""

from smalti.reporting.blocks import (
    Block,
    FigureTable,
    Listing,
    Picture,
    Player,
    Plot,
    SideBySide,
    Table,
    Text,
)
from smalti.reporting.figures import Figure, display, figure
from smalti.reporting.measurement import Measurement, SampleComparison, Subject
from smalti.reporting.section import Card, Record, Section
from smalti.reporting.tree import Branch, Tree

__all__ = [
    "Block",
    "Branch",
    "Card",
    "SampleComparison",
    "Figure",
    "FigureTable",
    "Listing",
    "Measurement",
    "Picture",
    "Player",
    "Plot",
    "Record",
    "Section",
    "SideBySide",
    "Subject",
    "Table",
    "Text",
    "Tree",
    "display",
    "figure",
]
