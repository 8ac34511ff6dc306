import pytest
import torch
from torch.nn import functional as F

from otoscope.nn import ClassQuantizer, PublishedDecoder, class_of_codes


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
        # sums, not means: of 1e5 values, so that a difference could be seen
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
def test_published_decoder(theirs, scramble, generator, agree):
    ours = scramble(PublishedDecoder(256)).eval()
    decoder = theirs.VectorQuantizedPSI(dim=256, K=64).decoder.eval()
    decoder.load_state_dict({name.removeprefix("layers."): value for name, value in ours.state_dict().items()})
    hidden = torch.randn(1, 256, 32, 26, generator=generator)
    mine, published = ours(hidden, 513, 431), decoder(hidden.transpose(-1, -2)).squeeze(1).transpose(-1, -2)
    assert mine.shape == (1, 513, 431)
    assert published.shape == (1, 513, 417)
    agree(mine[..., :417], published)
    assert torch.equal(mine[..., 417:], mine[..., 416:417].expand(-1, -1, 14))
