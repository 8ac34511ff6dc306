"""Interpreters, one paper or one idea per file."""

from otoscope.interpreters.amt import AMTDecoded, AMTInterpreter
from otoscope.interpreters.base import Components, Interpreter, load_interpreter, masked_mean, save_interpreter
from otoscope.interpreters.catalogue import GRADIENT_FREE, UNTRAINED, is_untrained, make_untrained
from otoscope.interpreters.l2i import L2IDecoded, L2IInterpreter
from otoscope.interpreters.lmac import LMACDecoded, LMACInterpreter
from otoscope.interpreters.piq import PIQDecoded, PIQInterpreter

__all__ = [
    "GRADIENT_FREE",
    "UNTRAINED",
    "AMTDecoded",
    "AMTInterpreter",
    "Components",
    "Interpreter",
    "L2IDecoded",
    "L2IInterpreter",
    "LMACDecoded",
    "LMACInterpreter",
    "PIQDecoded",
    "PIQInterpreter",
    "is_untrained",
    "load_interpreter",
    "make_untrained",
    "masked_mean",
    "save_interpreter",
]
