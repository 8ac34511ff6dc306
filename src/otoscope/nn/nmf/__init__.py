r"""Non-negative matrix factorisation of spectrogram frames: :math:`X \approx W H`, all non-negative.

`SparseNMF` learns the dictionary W from a stream of frames in constant memory, and `infer_activations` finds the
activations H of a given dictionary. `AmortizedNMF` is the published network, whose encoder predicts them.
"""

from otoscope.nn.nmf.activations import frames_of, infer_activations
from otoscope.nn.nmf.amortized import AmortizedNMF
from otoscope.nn.nmf.convergence import Convergence
from otoscope.nn.nmf.solver import FitStep, SparseNMF

__all__ = ["AmortizedNMF", "Convergence", "FitStep", "SparseNMF", "frames_of", "infer_activations"]
