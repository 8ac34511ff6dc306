"""Batch normalisation over the whole batch of a distributed training, on CPUs too."""

from __future__ import annotations

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from otoscope.nn.ranks import add_up, is_distributed


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation with mean and variance of the clips of all processes.

    `torch.nn.SyncBatchNorm` does the same on GPUs alone.
    """

    kind: type[_BatchNorm]
    """Class of the layer that this one replaces."""

    @override
    def _check_input_dim(self, input: Tensor) -> None:
        pass

    @override
    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and is_distributed()):
            return super().forward(input)
        channels = (1, -1, *[1] * (input.ndim - 2))
        others = [0, *range(2, input.ndim)]
        count = add_up(input.new_tensor(input.numel() / input.shape[1]))
        mean = add_up(input.sum(others)) / count
        # Not the mean square less the squared mean, whose difference would lose most of its digits.
        centred = input - mean.reshape(channels)
        variance = add_up(centred.square().sum(others)) / count
        self._track(mean.detach(), (variance * count / (count - 1)).detach())
        normalised = centred * (variance + self.eps).rsqrt().reshape(channels)
        if not self.affine:
            return normalised
        return normalised * self.weight.reshape(channels) + self.bias.reshape(channels)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # without a momentum, the running values are means over all batches
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)


class SharedBatchNorms(LayerSync):
    """Plugin of Lightning that replaces the batch normalisations of a model during a distributed training."""

    @override
    def apply(self, model: nn.Module) -> nn.Module:
        for parent in model.modules():
            for name, layer in parent.named_children():
                if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                    setattr(parent, name, _as(SharedBatchNorm, layer))
        return model

    @override
    def revert(self, model: nn.Module) -> nn.Module:
        for parent in model.modules():
            for name, layer in parent.named_children():
                if isinstance(layer, SharedBatchNorm):
                    setattr(parent, name, _as(layer.kind, layer))
        return model


def _as(kind: type[_BatchNorm], layer: _BatchNorm) -> _BatchNorm:
    """Return a layer of another class with the same parameters and buffers."""
    other = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    if isinstance(other, SharedBatchNorm):
        other.kind = type(layer)
    # The same objects, since optimisers and others may hold them.
    other._parameters, other._buffers, other.training = layer._parameters, layer._buffers, layer.training
    return other
