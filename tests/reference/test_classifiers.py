import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.classifiers.heads import CosineHead

LABELS = [f"class {index}" for index in range(50)]


@torch.no_grad()
def test_conv2d(reference, theirs, scramble, waveforms, agree):
    ours = scramble(Conv2dClassifier(LABELS, scale=1)).eval()
    encoder = theirs.Conv2dEncoder(dim=256).eval()
    encoder.load_state_dict(reference.renamed(ours.state_dict(), reference.ENCODER_NAMES))
    head = theirs.CosineClassifier(input_size=256, lin_blocks=1, out_neurons=50).eval()
    head.load_state_dict(reference.renamed(ours.state_dict(), reference.HEAD_NAMES))

    log_magnitude = ours.frontend.log_magnitude(waveforms)
    prediction = ours(log_magnitude)
    hidden = encoder(log_magnitude.transpose(1, 2))
    assert hidden.shape == (2, 256, 26, 32)
    agree(prediction.representations[-1], hidden.transpose(-1, -2))
    agree(prediction.logits, head(hidden.mean((-1, -2))).squeeze(1))


@torch.no_grad()
def test_cosine_head(reference, theirs, scramble, generator, agree):
    ours = scramble(CosineHead(256, 50, scale=1)).eval()
    head = theirs.CosineClassifier(input_size=256, lin_blocks=1, out_neurons=50).eval()
    state = {f"head.{name}": tensor for name, tensor in ours.state_dict().items()}
    head.load_state_dict(reference.renamed(state, reference.HEAD_NAMES))
    embedding = torch.randn(64, 256, generator=generator)
    agree(ours(embedding), head(embedding).squeeze(1))


def test_weights_come_back(reference):
    ours = Conv2dClassifier(LABELS, width=8, scale=1)
    state = ours.state_dict()
    for names in (reference.ENCODER_NAMES, reference.HEAD_NAMES):
        there_and_back = reference.renamed(reference.renamed(state, names), reference.inverted(names))
        assert there_and_back.keys() <= state.keys()
        state = {name: tensor for name, tensor in state.items() if name not in there_and_back}
    assert list(state) == ["head.log_scale"]
