"""The quantiser against a slow search, its gradients, and the division of codes among classes."""

import pytest
import torch

from otoscope.errors import ConfigurationError
from otoscope.nn import ClassQuantizer, class_of_codes


def slow_quantizer(codebook, owner, hidden, label):
    """Compare every permitted code at every position, by squared distance in float64."""
    batch, _, height, width = hidden.shape
    indices = torch.empty(batch, height, width, dtype=torch.int64)
    for clip in range(batch):
        for row in range(height):
            for column in range(width):
                vector, best = hidden[clip, :, row, column].double(), None
                for code in range(len(codebook)):
                    if owner[code] not in (-1, int(label[clip])):
                        continue
                    distance = float((vector - codebook[code].double()).square().sum())
                    if best is None or distance < best[0]:
                        best = (distance, code)
                indices[clip, row, column] = best[1]
    return indices


def make_quantizer(codes=13, dim=4, classes=3, **options):
    quantizer = ClassQuantizer(codes, dim, classes, **options)
    torch.nn.init.normal_(quantizer.codebook.weight)
    return quantizer


@pytest.mark.parametrize("classes", [*range(1, 61), 200, 527, 1000])
def test_every_class_gets_its_share_in_order(classes):
    for codes in {classes, classes + 1, 2 * classes - 1, 2 * classes, 3 * classes + 7, 1024}:
        if codes < classes:
            continue
        owner = class_of_codes(codes, classes)
        counts = owner.bincount(minlength=classes)
        assert owner.shape == (codes,)
        assert (owner.diff() >= 0).all()
        assert counts.shape == (classes,)
        assert counts.min() >= 1
        assert (counts - codes / classes).abs().max() <= 1 + 0.01 * codes / classes


def test_one_code_per_class():
    assert class_of_codes(5, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("codes", "classes"), [(2, 3), (0, 1), (49, 50), (5, 0)])
def test_a_class_without_code_is_refused(codes, classes):
    with pytest.raises(ConfigurationError, match=r"codes: .* cannot serve"):
        class_of_codes(codes, classes)


@pytest.mark.parametrize("shared_codes", [-1, 13, 14])
def test_impossible_shares_are_refused(shared_codes):
    with pytest.raises(ConfigurationError, match="shared_codes"):
        ClassQuantizer(13, 4, 3, shared_codes)


def test_shared_codes_may_not_leave_a_class_without_code():
    assert ClassQuantizer(13, 4, 3, shared_codes=10).owner.tolist() == [0, 1, 2] + [-1] * 10
    with pytest.raises(ConfigurationError, match="lower shared_codes"):
        ClassQuantizer(13, 4, 3, shared_codes=11)


@pytest.mark.parametrize(
    "options", [{}, {"shared_codes": 4}, {"partitioned": False}, {"codes": 3}, {"classes": 1}, {"dim": 1}], ids=str
)
def test_nearest_permitted_code_is_taken(options):
    quantizer = make_quantizer(**options)
    hidden = torch.randn(4, quantizer.codebook.embedding_dim, 3, 5)
    label = torch.tensor([0, 2, 1, 0]) % options.get("classes", 3)
    quantized = quantizer(hidden, label)
    weight = quantizer.codebook.weight.detach()
    expected = slow_quantizer(weight, quantizer.owner, hidden, label)
    assert torch.equal(quantized.indices, expected)
    values = weight[expected].permute(0, 3, 1, 2)
    assert torch.equal(quantized.codes, values)
    assert torch.equal(quantized.straight_through, values)


def test_only_codes_of_the_class_or_shared_ones_are_taken():
    quantizer = make_quantizer(codes=40, classes=5, shared_codes=6)
    label = torch.arange(5)
    owner = quantizer.owner[quantizer(torch.randn(5, 4, 20, 20) * 3, label).indices]
    assert ((owner == label[:, None, None]) | (owner == -1)).all()
    assert (owner == -1).any()
    assert all((owner[clip] == clip).any() for clip in range(5))


def test_without_partition_the_class_does_not_matter():
    quantizer = make_quantizer(partitioned=False)
    hidden = torch.randn(2, 4, 6, 6)
    first, third = (quantizer(hidden, torch.full((2,), label)).indices for label in (0, 2))
    assert torch.equal(first, third)


def test_tiny_codes_are_matched_exactly():
    quantizer = ClassQuantizer(64, 8, 2)  # fresh: within 1/64
    label = torch.tensor([0, 1])
    codes = [(quantizer.owner == clip).nonzero()[:, 0] for clip in (0, 1)]
    hidden = torch.stack([quantizer.codebook.weight[index].t().reshape(8, 8, 4) for index in codes]).detach()
    expected = torch.stack([index.reshape(8, 4) for index in codes])
    assert torch.equal(quantizer(hidden, label).indices, expected)


def test_fresh_codebook_lies_within_one_over_its_size():
    weight = ClassQuantizer(200, 16, 4).codebook.weight.detach()
    assert weight.abs().max() <= 1 / 200
    assert weight.std().item() == pytest.approx(2 / 200 / 12**0.5, rel=0.05)


def test_gradient_passes_straight_through_to_the_input_alone():
    quantizer = make_quantizer()
    hidden, weights = torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 4, 3, 3)
    (quantizer(hidden, torch.tensor([0, 1])).straight_through * weights).sum().backward()
    assert torch.equal(hidden.grad, weights)
    assert quantizer.codebook.weight.grad is None


def test_gradient_of_the_codes_goes_to_the_chosen_codes_alone():
    quantizer = make_quantizer()
    hidden = torch.randn(2, 4, 3, 3, requires_grad=True)
    quantized = quantizer(hidden, torch.tensor([0, 1]))
    quantized.codes.sum().backward()
    times_chosen = quantized.indices.flatten().bincount(minlength=13).float()
    assert hidden.grad is None
    assert torch.equal(quantizer.codebook.weight.grad, times_chosen[:, None].expand(-1, 4))


def test_a_checkpoint_holds_the_codebook_alone():
    assert list(ClassQuantizer(13, 4, 3).state_dict()) == ["codebook.weight"]
