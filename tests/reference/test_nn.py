"""Parts of the networks compared with the reference, with the same weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.nn import AmortizedNMF, ClassQuantizer, FixedLengthPooling, class_of_codes
from otoscope.nn.decoders import PublishedActivations, PyramidActivations


@pytest.mark.parametrize("shared", [0, 1, 5])
def test_every_class_owns_the_published_codes(theirs, shared):
    for classes in [1, 2, 3, 5, 7, 10, 27, 50, 64, 100, 521]:
        for codes in {classes, classes + 1, 2 * classes - 1, 3 * classes, 512, 1000, 1024}:
            if codes < classes:
                continue
            labels = torch.arange(classes)
            forbidden = theirs.get_irrelevant_regions(labels, codes + shared, classes, shared, stage="TEST")
            owner = class_of_codes(codes, classes)
            assert torch.equal(forbidden[:, :codes], owner != labels[:, None]), (codes, classes)
            assert not forbidden[:, codes:].any()
            quantizer = ClassQuantizer(codes + shared, 2, classes, shared)
            assert torch.equal(quantizer.owner, F.pad(owner, (0, shared), value=-1))


@pytest.mark.parametrize("shared", [0, 24])
def test_quantizer(theirs, scramble, generator, shared):
    ours = scramble(ClassQuantizer(1024, 256, 50, shared)).eval()
    embedding = theirs.VQEmbedding(1024, 256, numclasses=50, shared_keys=shared).eval()
    embedding.embedding.load_state_dict(ours.codebook.state_dict())
    hidden = torch.randn(2, 256, 13, 16, generator=generator)
    label = torch.tensor([3, 20])

    quantized = ours(hidden, label)
    straight_through, codes = embedding.straight_through(hidden, label)
    assert torch.equal(quantized.straight_through, straight_through)
    assert torch.equal(quantized.codes, codes)
    chosen = (codes.permute(0, 2, 3, 1)[..., None, :] == ours.codebook.weight).all(-1)
    assert torch.equal(chosen.nonzero()[:, -1].reshape(2, 13, 16), quantized.indices)
    assert quantized.indices.unique().numel() > 20
    assert (quantized.indices >= 1000).any() == (shared > 0)


def test_gradients_of_the_quantizer(theirs, scramble, generator):
    ours = scramble(ClassQuantizer(1024, 256, 50))
    embedding = theirs.VQEmbedding(1024, 256, numclasses=50)
    embedding.embedding.load_state_dict(ours.codebook.state_dict())
    hidden = torch.randn(2, 256, 13, 16, generator=generator)
    downstream = torch.randn(2, 256, 13, 16, generator=generator)
    label = torch.tensor([3, 20])

    def gradients(quantize, weight):
        leaf = hidden.clone().requires_grad_()
        straight_through, codes = quantize(leaf)
        # sums, not means, of 1e5 values: differences would be too small to detect in means
        terms = [
            (straight_through * downstream).sum(),
            (codes - leaf.detach()).square().sum(),
            (leaf - codes.detach()).square().sum(),
        ]
        return [
            torch.autograd.grad(term, [leaf, weight], allow_unused=True, materialize_grads=True) for term in terms
        ]

    def ours_quantize(leaf):
        quantized = ours(leaf, label)
        return quantized.straight_through, quantized.codes

    mine = gradients(ours_quantize, ours.codebook.weight)
    published = gradients(lambda leaf: embedding.straight_through(leaf, label), embedding.embedding.weight)
    for (to_input, to_codes), (their_input, their_codes) in zip(mine, published, strict=True):
        torch.testing.assert_close(to_input, their_input, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(to_codes, their_codes, rtol=1e-4, atol=1e-4)
    assert torch.equal(mine[0][0], downstream)
    assert mine[1][1].abs().amax() > 1
    assert mine[2][0].abs().amax() > 1


@torch.no_grad()
def test_published_decoders_of_conv2d(reference, theirs, scramble, generator, agree):
    """Compare the decoder of PIQ and the network of L2I, which contains it, in one run of each at full size."""
    ours = scramble(PublishedActivations(256, 513, 100)).eval()
    network = theirs.PsiOptimized(dim=256, K=100, use_adapter=False, adapter_reduce_dim=False).eval()
    names = reference.ACTIVATION_NAMES["conv2d"]
    state = {f"decoder.{name}": value for name, value in ours.state_dict().items()}
    network.load_state_dict(reference.renamed(state, names))
    assert theirs.VectorQuantizedPSI(dim=8, K=64).decoder[12].weight.shape == (8, 1, 12, 12)  # the same layers
    decoded = {}
    ours.decoder.register_forward_hook(lambda *call: decoded.update(ours=call[-1]))
    network.decoder[12].register_forward_hook(lambda *call: decoded.update(theirs=call[-1].clone()))
    hidden = torch.randn(1, 256, 32, 26, generator=generator)
    mine, (published, _) = ours([hidden], 431), network(hidden.transpose(-1, -2))
    published = published.squeeze(1).transpose(-1, -2)
    assert published.shape == (1, 100, 417)
    agree(mine[..., :417], published)
    assert torch.equal(mine[..., 417:], mine[..., 416:417].expand(-1, -1, 14))
    assert decoded["ours"].shape == (1, 513, 431)
    agree(decoded["ours"][..., :417], decoded["theirs"].squeeze(1).transpose(-1, -2))


@torch.no_grad()
@pytest.mark.parametrize("frames", [431, 111])
def test_published_decoder_of_cnn14(reference, theirs, scramble, generator, agree, frames):
    channels = 1024 if frames == 431 else 64
    ours = scramble(PyramidActivations(channels, 100)).eval()
    with torch.device("meta"):
        network = theirs.Cnn14Psi(dim=channels, K=100).eval()
    state = {f"decoder.{name}": value for name, value in ours.state_dict().items()}
    network.load_state_dict(reference.renamed(state, reference.ACTIVATION_NAMES["cnn14"]), assign=True)
    sizes = {8: (10, frames // 8), 4: (5, frames // 16), 2: (2, frames // 32), 1: (2, frames // 32)}
    hidden = [torch.rand(2, channels // share, *size, generator=generator) for share, size in sizes.items()]
    published = network([values.transpose(-1, -2) for values in reversed(hidden)])
    assert published.shape == (2, 100, frames)
    agree(ours(hidden, frames), published)


@torch.no_grad()
@pytest.mark.parametrize("frames", [417, 431])
def test_pooling_and_head_of_l2i(reference, theirs, generator, agree, frames):
    ours = nn.ModuleDict({"pooling": FixedLengthPooling(frames), "head": nn.Linear(100, 50, bias=False)})
    theta = theirs.Theta(n_comp=100, T=frames, num_classes=50)
    theta.load_state_dict(reference.renamed(ours.state_dict(), reference.THETA_NAMES))
    activations = 30 * torch.rand(4, 100, 431, generator=generator)
    pooled = ours["pooling"](activations)
    agree(pooled, theta.hard_att(activations[..., :frames]).squeeze(2))
    agree(ours["head"](pooled).softmax(-1), theta(activations[..., :frames]))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@torch.no_grad()
def test_amortized_nmf(reference, theirs, scramble, waveforms, agree):
    ours = scramble(AmortizedNMF())
    ours.dictionary -= 0.02  # so that some entries are negative
    encoder, dictionary = theirs.NMFEncoder(513, 100), theirs.NMFDecoder(n_comp=100, n_freq=513, device="cpu")
    encoder.load_state_dict(reference.renamed(ours.state_dict(), reference.AMORTIZED_NAMES))
    dictionary.load_state_dict(reference.renamed(ours.state_dict(), reference.DICTIONARY_NAMES))
    log_magnitude = Frontend().log_magnitude(waveforms)
    activations = ours(log_magnitude)
    agree(activations, encoder(log_magnitude))
    agree(ours.components, dictionary.return_W())
    agree(ours.reconstruct(activations), dictionary(activations))
