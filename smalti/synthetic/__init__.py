"""Data that are made from known factors, and what reads these off pictures again."""

from smalti.synthetic.clocks import Clocks, ClockStyle, render_clock
from smalti.synthetic.factors import FactorGrid, render_shape

__all__ = ["ClockStyle", "Clocks", "FactorGrid", "render_clock", "render_shape"]
