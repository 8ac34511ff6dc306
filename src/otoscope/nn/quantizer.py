"""Vector quantisation with a codebook that is divided among the classes, as PIQ uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.errors import ConfigurationError
from otoscope.nn.ranks import gather_clips, share_first

CodebookInit = Literal["data", "uniform"]


@dataclass
class Quantized:
    """Result of a quantiser.

    Attributes:
        straight_through: Codes with the gradient of the identity towards the input, shape (batch, dim, height,
            width).
        codes: The same values with the gradient towards the codebook.
        indices: Indices of the codes, shape (batch, height, width).
    """

    straight_through: Tensor
    codes: Tensor
    indices: Tensor


def class_of_codes(codes: int, classes: int) -> Tensor:
    """Divide codes among classes, in order and about ``codes / classes`` each.

    Args:
        codes: Number of codes.
        classes: Number of classes.

    Returns:
        Class of each code in ascending order, shape (codes,), int64.

    Raises:
        ConfigurationError: There are fewer codes than classes.

    Reference:
        Paissan et al. 2023, arXiv 2303.12659. The assignment is that of the published weights.

    Example:
        >>> class_of_codes(7, 3)
        tensor([0, 0, 0, 1, 1, 2, 2])
    """
    if codes < classes or classes < 1:
        raise ConfigurationError(
            f"codes: {codes} class-specific codes cannot serve {classes} classes; "
            "every class needs at least one, so raise codes or lower shared_codes"
        )
    # rounding a ramp of this range gives each class the published codes; the 0.51 keeps the last one in range
    owner = torch.linspace(-0.5, classes - 0.51, codes).round().long()
    return owner.clamp(0, classes - 1)


class ClassQuantizer(nn.Module):
    """Quantiser that takes the nearest code among those of the explained class and the shared ones.

    Args:
        codes: Size of the codebook, including shared codes.
        dim: Dimension of a code.
        classes: Number of classes among which the codes are divided.
        shared_codes: Number of codes at the end of the codebook that every class may choose.
        partitioned: Whether codes belong to classes. If not, every class may choose every code.
        init: First values of the codes. ``uniform``: in (-1/codes, 1/codes), as published. ``data``: vectors that
            are drawn from the batch of the first training step, so that all codes lie where the data does.

    Raises:
        ConfigurationError: A class would have no code.

    Reference:
        Paissan et al. 2023, arXiv 2303.12659, section 3; straight-through gradient of van den Oord et al.
        2017, arXiv 1711.00937. Departure from the published code: shared codes may also be chosen during
        training. There they never are, and so are never trained.
    """

    owner: Tensor
    drawn: Tensor

    def __init__(
        self,
        codes: int,
        dim: int,
        classes: int,
        shared_codes: int = 0,
        partitioned: bool = True,
        init: CodebookInit = "uniform",
    ) -> None:
        super().__init__()
        if not 0 <= shared_codes < codes:
            raise ConfigurationError(f"shared_codes: {shared_codes} must lie in 0 .. codes - 1 = {codes - 1}")
        self.codebook = nn.Embedding(codes, dim)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        owner = torch.full((codes,), -1)
        if partitioned:
            owner[: codes - shared_codes] = class_of_codes(codes - shared_codes, classes)
        self.register_buffer("owner", owner, persistent=False)  # -1: shared
        # saved only where codes are drawn: a resumed run must not draw them again
        self.register_buffer("drawn", torch.tensor(init == "uniform"), persistent=init == "data")

    @override
    def forward(self, hidden: Tensor, label: Tensor) -> Quantized:
        """Replace each vector by its nearest permitted code.

        Args:
            hidden: Vectors at each position, shape (batch, dim, height, width).
            label: Class whose codes may be chosen, for each clip. Shape (batch,).
        """
        batch, dim, height, width = hidden.shape
        vectors = hidden.permute(0, 2, 3, 1).reshape(batch, height * width, dim)
        # a code far from all vectors would never be the nearest, and so never be trained
        if self.training and not self.drawn:
            # of the whole batch, where several processes share it
            self.draw_codes(torch.cat(gather_clips(list(vectors.detach()))))
        indices = self.nearest(vectors.detach(), label)
        codes = self.codebook(indices).reshape(batch, height, width, dim).permute(0, 3, 1, 2)
        # The gradient passes as if there were no quantiser. The difference in parentheses is exactly 0, so the
        # value is exactly the code; the usual hidden + (codes - hidden) would round it.
        straight_through = codes.detach() + (hidden - hidden.detach())
        return Quantized(straight_through, codes, indices.reshape(batch, height, width))

    @torch.no_grad()
    def draw_codes(self, vectors: Tensor) -> None:
        """Replace every code by a vector drawn at random; all processes of a training get the same ones.

        Args:
            vectors: Vectors to draw from, shape (positions, dim).
        """
        choice = torch.randint(len(vectors), (len(self.codebook.weight),), device=vectors.device)
        # The processes draw with random numbers of their own.
        share_first(choice)
        self.codebook.weight.copy_(vectors[choice])
        self.drawn.fill_(True)

    @torch.no_grad()
    def nearest(self, vectors: Tensor, label: Tensor) -> Tensor:
        """Return the index of the nearest permitted code.

        Args:
            vectors: Vectors, shape (batch, positions, dim).
            label: Class whose codes may be chosen, for each clip. Shape (batch,).

        Returns:
            Indices, shape (batch, positions), int64.
        """
        weight = self.codebook.weight
        # |v - c|^2 = |v|^2 + |c|^2 - 2 v.c, and |v|^2 does not change which is nearest
        distance = weight.square().sum(1) - 2 * vectors @ weight.t()
        forbidden = (self.owner != label[:, None]) & (self.owner >= 0)
        return distance.masked_fill_(forbidden[:, None, :], torch.inf).argmin(-1)
