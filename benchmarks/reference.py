"""The reference system (SpeechBrain 1.1.2), its modules arranged as its PIQ recipe arranges them.

Tests compare results with it, benchmarks time. It computes what the recipe computes, in the recipe's order,
the needless parts included; reading files, loggers and checkpoints are left out. Time comes before
frequency here, as there. Needs the packages of the ``parity`` extra; torchaudio may be absent.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.classifiers import Conv2dClassifier
from otoscope.interpreters import PIQInterpreter

ENCODER_NAMES = {
    "blocks.0.0": "conv1",
    "blocks.0.1": "bn1",
    "blocks.1.0": "conv2",
    "blocks.1.1": "bn2",
    "blocks.2.0": "conv3",
    "blocks.2.1": "bn3",
    "blocks.3.0": "conv4",
    "blocks.3.1": "bn4",
    "residual": "resblock",
}
"""Our name of each part of the Conv2d classifier, and the name in ``Conv2dEncoder_v2``."""

HEAD_NAMES = {"head.norm": "blocks.0.norm", "head.linear": "blocks.1.w", "head.weight": "weight"}
"""Our name of each part of the cosine head, and the name in ECAPA-TDNN's ``Classifier``."""

INTERPRETER_NAMES = {
    "adapter": "adapter",
    "down": "down",
    "quantizer.codebook": "codebook.embedding",
    "up": "up",
    "decoder.layers": "decoder",
}
"""Our name of each part of PIQ, and the name in ``VectorQuantizedPSI_Audio``."""

_STUBS = ("torchaudio", "torchaudio.transforms", "torchaudio.functional", "torchaudio.datasets")
_QUIRKS = "disable_jit_profiling,allow_tf32"  # what SpeechBrain would change in the whole process
_EPSILON = 1e-10


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a state dict whose parts are in a name table, under their other names.

    Args:
        state: A state dict.
        names: Old name of a part to its new name.
    """
    result = {}
    for name, tensor in state.items():
        for old, new in names.items():
            if name == old or name.startswith(f"{old}."):
                result[new + name.removeprefix(old)] = tensor
    return result


def inverted(names: Mapping[str, str]) -> dict[str, str]:
    """The name table for the other direction."""
    return {new: old for old, new in names.items()}


@functools.cache
def speechbrain_modules() -> types.SimpleNamespace:
    """What we use of SpeechBrain, imported without torchaudio and without side effects on the process."""
    with _quiet_import():
        from speechbrain.lobes.models import PIQ
        from speechbrain.lobes.models.ECAPA_TDNN import Classifier
        from speechbrain.processing.features import ISTFT, STFT, Filterbank, spectral_magnitude
        from speechbrain.processing.NMF import spectral_phase
        from speechbrain.utils.importutils import LazyModule
    # Whoever walks over sys.modules (hypothesis, for one) would wake these, which then fail to import.
    for name in [name for name, module in sys.modules.items() if isinstance(module, LazyModule)]:
        del sys.modules[name]
    return types.SimpleNamespace(
        STFT=STFT,
        ISTFT=ISTFT,
        Filterbank=Filterbank,
        spectral_magnitude=spectral_magnitude,
        spectral_phase=spectral_phase,
        Conv2dEncoder=PIQ.Conv2dEncoder_v2,
        CosineClassifier=Classifier,
        VectorQuantizedPSI=PIQ.VectorQuantizedPSI_Audio,
        VQEmbedding=PIQ.VQEmbedding,
        get_irrelevant_regions=PIQ.get_irrelevant_regions,
    )


@functools.cache
def quantus() -> Any:
    """The Quantus package, whose scores the recipes report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus as package
    return package


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    absent = () if importlib.util.find_spec("torchaudio") else _STUBS
    for name in absent:
        stub = types.ModuleType(name)
        stub.__spec__ = importlib.machinery.ModuleSpec(name, None)
        stub.__dict__["__version__"] = torch.__version__
        sys.modules[name] = stub
    kept = os.environ.get("SB_DISABLE_QUIRKS")
    os.environ["SB_DISABLE_QUIRKS"] = _QUIRKS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        del os.environ["SB_DISABLE_QUIRKS"]
        if kept is not None:
            os.environ["SB_DISABLE_QUIRKS"] = kept
        for name in absent:
            del sys.modules[name]


@dataclass
class ReferenceOutput:
    """What one forward pass of the recipe leaves for the objectives.

    Attributes:
        logits: Of the classifier. Shape (batch, classes).
        output: Mask, or model of the spectrogram. Shape (batch, 417 of 431 frames, frequency).
        adapted: Representation before quantisation (without quantisation, the classifier's).
        codes: Chosen codes; None without quantisation.
    """

    logits: Tensor
    output: Tensor
    adapted: Tensor
    codes: Tensor | None


class ReferencePIQ:
    """PIQ on the Conv2d classifier as the reference trains, evaluates and applies it.

    Args:
        classes: Classes.
        width: Channels of classifier and interpreter.
        codes: Size of the codebook.
        use_vq: Quantise before decoding.
        use_mask_output: Sigmoid mask, else softplus.
        mask_threshold: Share of the maximum above which a bin counts as present.
        device: Where to compute.
    """

    def __init__(
        self,
        classes: int = 50,
        width: int = 256,
        codes: int = 1024,
        use_vq: bool = True,
        use_mask_output: bool = True,
        mask_threshold: float = 0.35,
        device: torch.device | str = "cpu",
    ) -> None:
        self.modules = speechbrain_modules()
        self.use_vq = use_vq
        self.use_mask_output = use_mask_output
        self.mask_threshold = mask_threshold
        frame: dict[str, Any] = {"sample_rate": 16_000, "hop_length": 11.6099, "win_length": 23.2199}
        self.stft = self.modules.STFT(n_fft=1024, **frame)
        self.istft = self.modules.ISTFT(**frame)
        # In evaluation mode, but not frozen: the recipe computes gradients to weights that nobody trains.
        self.encoder: nn.Module = self.modules.Conv2dEncoder(dim=width).to(device).eval()
        head = self.modules.CosineClassifier(input_size=width, lin_blocks=1, out_neurons=classes)
        self.head: nn.Module = head.to(device).eval()
        self.network = self.modules.VectorQuantizedPSI(dim=width, K=codes, numclasses=classes).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=2e-4, weight_decay=2e-6)
        self._sparseness: Any = None
        self._complexity: Any = None

    def load(self, classifier: Conv2dClassifier, interpreter: PIQInterpreter) -> None:
        """Takes over our weights, so that both sides compute the same.

        Args:
            classifier: Of the same width and classes. Its head's scale has no counterpart here: where
                probabilities matter it must be 1.
            interpreter: With ``decoder="published"``.
        """
        state = classifier.state_dict()
        self.encoder.load_state_dict(renamed(state, ENCODER_NAMES))
        self.head.load_state_dict(renamed(state, HEAD_NAMES))
        theirs = renamed(interpreter.state_dict(), INTERPRETER_NAMES)
        self.network.load_state_dict({**self.network.state_dict(), **theirs})

    def training_step(self, waveforms: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """One step of training: forward, objectives, backward, clipped Adam step.

        Args:
            waveforms: Shape (batch, samples).
            labels: True classes, for the accuracy alone. Shape (batch,).

        Returns:
            The terms of the loss, and the accuracy.
        """
        self.network.train()
        terms, values = self.objectives(waveforms, labels, self.forward(waveforms), training=True)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError("the reference's loss is not finite")
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return _means(terms | values)

    @torch.no_grad()
    def evaluation_step(self, waveforms: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """One batch of validation or test: forward, objectives and all scores.

        Args:
            waveforms: Shape (batch, samples).
            labels: True classes, for the accuracy alone. Shape (batch,).

        Returns:
            The terms of the loss and the scores, averaged over the batch.
        """
        self.network.eval()
        terms, values = self.objectives(waveforms, labels, self.forward(waveforms), training=False)
        return _means(terms | values)

    @torch.no_grad()
    def interpret(self, waveform: Tensor) -> Tensor:
        """The sound of the interpretation of one clip.

        Args:
            waveform: Shape (samples,).

        Returns:
            Shape (samples of the 417 frames that have a mask,).
        """
        self.network.eval()
        masked, _, phase = self.interpretation(waveform[None])
        magnitude = torch.expm1(masked)[..., None]
        phase = phase[:, : magnitude.shape[1]]
        parts = torch.cat([phase.cos()[..., None], phase.sin()[..., None]], -1)
        sound: Tensor = self.istft(magnitude * parts)
        return sound[0]

    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masked log magnitude, output of the network and phase, from scratch. Shape each (batch, time, frequency).

        Reference:
            ``interpret_computation_steps`` of the recipe.
        """
        log_magnitude, transform = self.preprocess(waveforms)
        phase: Tensor = self.modules.spectral_phase(transform)
        output = self.decode(*self.classify(log_magnitude)).output
        mask = output if self.use_mask_output else output > self.mask_threshold * output.max()
        return mask * log_magnitude[:, : output.shape[1]], output, phase

    def preprocess(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Log magnitude, shape (batch, time, frequency), and the transform with its real and imaginary part."""
        transform: Tensor = self.stft(waveforms)
        magnitude: Tensor = self.modules.spectral_magnitude(transform, power=0.5)
        return torch.log1p(magnitude), transform

    def classify(self, log_magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Representation, shape (batch, channels, time', frequency'), and logits."""
        hidden: Tensor = self.encoder(log_magnitude)
        return hidden, self.head(hidden.mean((-1, -2))).squeeze(1)

    def decode(self, hidden: Tensor, logits: Tensor) -> ReferenceOutput:
        """Runs the interpreter for the predicted class."""
        codes: Tensor | None = None
        if self.use_vq:
            decoded, hidden, codes = self.network(hidden, logits.argmax(1))
        else:
            decoded = self.network.decoder(hidden)
        output = decoded.squeeze(1)
        output = output.sigmoid() if self.use_mask_output else F.softplus(output)
        return ReferenceOutput(logits, output, hidden, codes)

    def forward(self, waveforms: Tensor) -> ReferenceOutput:
        """The forward pass of a step."""
        log_magnitude, _ = self.preprocess(waveforms)
        return self.decode(*self.classify(log_magnitude))

    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: ReferenceOutput, training: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Terms of the loss, shape () each, and scores of each clip; while training, the accuracy alone."""
        labels = torch.zeros(len(waveforms), dtype=torch.int64) if labels is None else labels
        log_magnitude, _ = self.preprocess(waveforms)  # once more
        log_magnitude = log_magnitude[:, : result.output.shape[1]]
        # Both are computed while training too, with their graphs, although no loss depends on them.
        _, evidence = self.classify(result.output * log_magnitude)
        _, remainder = self.classify((1 - result.output) * log_magnitude)
        terms = self._loss(result, log_magnitude)
        values = {"accuracy": (result.logits.argmax(1) == labels.to(result.logits.device)).float()}
        if not training:
            whole, kept, left = (scores.softmax(1) for scores in (result.logits, evidence, remainder))
            values |= _scores(whole, kept, left)
            values |= self._quantus_scores(waveforms, log_magnitude, labels)
        return terms, values

    def _loss(self, result: ReferenceOutput, log_magnitude: Tensor) -> dict[str, Tensor]:
        output = result.output
        if self.use_mask_output:
            highest = log_magnitude.amax((-1, -2), keepdim=True)
            present = (log_magnitude > self.mask_threshold * highest).float()
            hit, miss = torch.log(output + _EPSILON), torch.log(1 - output + _EPSILON)
            terms = {"reconstruction": -(present * hit + (1 - present) * miss).mean()}
        else:
            terms = {"reconstruction": (log_magnitude - output).pow(2).mean()}
        if result.codes is not None:
            terms["codebook"] = F.mse_loss(result.codes, result.adapted.detach())
            terms["commitment"] = F.mse_loss(result.adapted, result.codes.detach())
        return terms

    def _quantus_scores(self, waveforms: Tensor, log_magnitude: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """SPS and COMP, each with an interpretation computed anew."""
        if self._sparseness is None:
            with contextlib.redirect_stdout(None), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._sparseness = quantus().Sparseness(return_aggregate=True, abs=True)
                self._complexity = quantus().Complexity(return_aggregate=True, abs=True)
        scores = {}
        for name, metric in (("SPS", self._sparseness), ("COMP", self._complexity)):
            output = self.interpretation(waveforms)[1].unsqueeze(1).cpu().numpy()
            if not output.sum() > 0:
                continue  # a mask of zeros is left out of the mean
            inputs = log_magnitude.unsqueeze(1).cpu().numpy()
            arguments = {"model": None, "x_batch": inputs, "a_batch": output, "y_batch": labels.cpu().numpy()}
            score = metric(**arguments, softmax=False, device=str(log_magnitude.device))
            scores[name] = torch.tensor([score[0]])
        return scores


def _scores(whole: Tensor, kept: Tensor, left: Tensor) -> dict[str, Tensor]:
    """The published scores of probabilities, with the faulty average drop."""
    explained = whole.argmax(1, keepdim=True)
    before, after = whole.gather(1, explained).squeeze(1), kept.gather(1, explained).squeeze(1)
    twice_before = whole.softmax(1).gather(1, explained).squeeze(1)
    twice_after = kept.softmax(1).gather(1, explained).squeeze(1)
    return {
        "AI": 100 * (before < after).float(),
        "AD_published": 100 * F.relu(twice_before - twice_after) / (twice_before + _EPSILON),
        "AG": 100 * F.relu(after - before) / (1 - before + _EPSILON),
        "FF": before - left.gather(1, explained).squeeze(1),
        "Fid-In": (kept.topk(1, dim=1).indices == explained).float().squeeze(1),
    }


def _means(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach().mean()) for name, value in values.items()}
