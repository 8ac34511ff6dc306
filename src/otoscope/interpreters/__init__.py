"""Interpreters, one paper or one idea per file."""

from otoscope.interpreters.base import Interpreter, load_interpreter, masked_mean, save_interpreter
from otoscope.interpreters.piq import PIQDecoded, PIQInterpreter

__all__ = ["Interpreter", "PIQDecoded", "PIQInterpreter", "load_interpreter", "masked_mean", "save_interpreter"]
