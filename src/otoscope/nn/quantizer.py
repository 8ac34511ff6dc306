"""Vector quantisation with a codebook that is divided among the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from otoscope.errors import ConfigurationError

CodebookInit = Literal["data", "uniform"]


@dataclass
class Quantized:
    """What a quantiser returns.

    Attributes:
        straight_through: The codes, with the gradient of the identity towards the input.
        codes: The same values, with the gradient towards the codebook.
        indices: Which code was taken. Shape (batch, height, width).
    """

    straight_through: Tensor
    codes: Tensor
    indices: Tensor


def class_of_codes(codes: int, classes: int) -> Tensor:
    """Divides codes among classes: in order, about ``codes / classes`` each.

    Args:
        codes: Codes to divide.
        classes: Classes.

    Returns:
        The class that each code belongs to, not decreasing. Shape (codes,), int64.

    Raises:
        ConfigurationError: There are fewer codes than classes.

    Reference:
        Paissan et al. 2023, arXiv 2303.12659. Same assignment as the published weights were trained with.

    Example:
        >>> class_of_codes(7, 3)
        tensor([0, 0, 0, 1, 1, 2, 2])
    """
    if codes < classes or classes < 1:
        raise ConfigurationError(
            f"codes: {codes} class-specific codes cannot serve {classes} classes; "
            "every class needs at least one, so raise codes or lower shared_codes"
        )
    owner = torch.linspace(-0.5, classes - 0.51, codes).round().long()
    return owner.clamp(0, classes - 1)


class ClassQuantizer(nn.Module):
    """Nearest code by squared distance, among those of the explained class and the shared ones.

    Args:
        codes: Size of the codebook, shared codes included.
        dim: Dimension of a code.
        classes: Classes among which the codes are divided.
        shared_codes: The last so many codes may be chosen for every class.
        partitioned: False: every class may choose every code.
        init: ``uniform``: codes start in (-1/codes, 1/codes), as published; ``data``: in the first training
            step they become vectors drawn from the batch, so that all of them lie where the data does.

    Raises:
        ConfigurationError: Some class would be left without a code.

    Reference:
        Paissan et al. 2023, arXiv 2303.12659, section 3; straight-through gradient of van den Oord et al.
        2017, arXiv 1711.00937. Departure from the published code: shared codes may be chosen while
        training too (there, never, so that they were never trained).
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
        self.register_buffer("owner", owner, persistent=False)  # -1: everybody's
        self.register_buffer("drawn", torch.tensor(init == "uniform"), persistent=init == "data")

    def forward(self, hidden: Tensor, label: Tensor) -> Quantized:
        """Replaces each vector by its nearest permitted code.

        Args:
            hidden: Shape (batch, dim, height, width).
            label: Class whose codes may be chosen. Shape (batch,).
        """
        batch, dim, height, width = hidden.shape
        vectors = hidden.permute(0, 2, 3, 1).reshape(batch, height * width, dim)
        if self.training and not self.drawn:
            self.draw_codes(vectors.detach().flatten(0, 1))
        indices = self.nearest(vectors.detach(), label)
        codes = self.codebook(indices).reshape(batch, height, width, dim).permute(0, 3, 1, 2)
        # The value is exactly the code; adding and subtracting the input would round it.
        straight_through = codes.detach() + (hidden - hidden.detach())
        return Quantized(straight_through, codes, indices.reshape(batch, height, width))

    @torch.no_grad()
    def draw_codes(self, vectors: Tensor) -> None:
        """Makes every code one of the vectors, drawn at random.

        Args:
            vectors: Shape (positions, dim).
        """
        choice = torch.randint(len(vectors), (len(self.codebook.weight),), device=vectors.device)
        self.codebook.weight.copy_(vectors[choice])
        self.drawn.fill_(True)

    @torch.no_grad()
    def nearest(self, vectors: Tensor, label: Tensor) -> Tensor:
        """Index of the nearest permitted code.

        Args:
            vectors: Shape (batch, positions, dim).
            label: Shape (batch,).

        Returns:
            Shape (batch, positions), int64.
        """
        weight = self.codebook.weight
        # |v - c|^2 = |v|^2 + |c|^2 - 2 v.c, and |v|^2 does not change which is nearest
        distance = weight.square().sum(1) - 2 * vectors @ weight.t()
        forbidden = (self.owner != label[:, None]) & (self.owner >= 0)
        return distance.masked_fill_(forbidden[:, None, :], torch.inf).argmin(-1)
