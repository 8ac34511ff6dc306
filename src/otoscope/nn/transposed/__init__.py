"""Transposed convolutions with the parameters and results of PyTorch's, but faster on a CPU.

PyTorch's routine takes several times longer than its multiply-adds where weights outnumber positions. Here a layer
is computed in the cheapest of three ways, chosen by `cost`:

- *folded*, for few positions and many weights: one matrix product, then a fold;
- *tiled*, for many positions: tile by tile with fewer multiplications than the definition has (Toom-Cook, known as
  Winograd's convolution). Rounding grows to some 1e-6 of the largest value;
- PyTorch's own routine, where there are too few channels to gain, with a faster gradient of the weight.

Files, in the order of reading: `geometry` (tiles and their matrices), `forward`, `gradients`, `functions`
(autograd), `cost` (choice), `layers` (what networks use), `composed` (two layers as one), `memory_format`. The page
docs/fast_transposed.md gives an overview.
"""

from otoscope.nn.transposed.layers import SingleOutputTransposed, Transposed2d
from otoscope.nn.transposed.memory_format import use_channels_last

__all__ = ["SingleOutputTransposed", "Transposed2d", "use_channels_last"]
