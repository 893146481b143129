"""Synthetic data, made from known factors, and a reader that recovers the factor from pictures."""

from smalti.reporting import Measurement
from smalti.synthetic.clock_measurement import ReadingOfClocks
from smalti.synthetic.clocks import Clocks, ClockStyle, render_clock
from smalti.synthetic.factors import FactorGrid, render_shape

__all__ = [
    "MEASUREMENTS",
    "ClockStyle",
    "Clocks",
    "FactorGrid",
    "ReadingOfClocks",
    "render_clock",
    "render_shape",
]

MEASUREMENTS: tuple[Measurement, ...] = (ReadingOfClocks(),)
"""What the sources here bring with their data."""
