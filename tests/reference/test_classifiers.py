"""Conv2d and CNN14 compared with the reference, with the same weights."""

import torch

from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
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


@torch.no_grad()
def test_cnn14(reference, theirs, scramble, waveforms, agree):
    ours = scramble(Cnn14Classifier(LABELS)).eval()
    embeddings = []
    ours.head.register_forward_pre_hook(lambda module, inputs: embeddings.append(inputs[0]))
    with torch.device("meta"):  # 80 million weights: ours are shared, not copied
        encoder = theirs.Cnn14(mel_bins=80, emb_dim=2048, return_reps=True, l2i=False).eval()
        head = torch.nn.Linear(2048, 50)
    encoder.load_state_dict(reference.renamed(ours.state_dict(), reference.CNN14_NAMES), assign=True)
    head.load_state_dict(reference.renamed(ours.state_dict(), reference.CNN14_HEAD_NAMES), assign=True)
    log_magnitude = ours.frontend.log_magnitude(waveforms)
    prediction = ours(log_magnitude)
    mel = theirs.Filterbank(n_mels=80, n_fft=1024, sample_rate=16_000, log_mel=False)
    embedding, representations = encoder(torch.log1p(mel(log_magnitude.expm1().transpose(1, 2))))
    assert embedding.shape == (2, 1, 2048)
    agree(embeddings[0], embedding[:, 0])
    agree(prediction.logits, head(embedding).squeeze(1))
    blocks = dict(zip(("block6", "block5", "block4", "block3"), representations, strict=True))
    named = dict(zip(ours.representation_names, prediction.representations, strict=True))
    assert blocks["block3"].shape == (2, 256, 53, 10)
    assert named.keys() == blocks.keys()
    for name, published in blocks.items():
        agree(named[name], published.transpose(-1, -2))


@torch.no_grad()
def test_narrow_cnn14(reference, scramble, waveforms, agree):
    ours = scramble(Cnn14Classifier(LABELS, width=2)).eval()
    published = reference.ReferenceCnn14(classes=50, width=2)
    published.load(ours)
    log_magnitude = ours.frontend.log_magnitude(waveforms)
    magnitude = log_magnitude.expm1().transpose(1, 2)
    _, logits = published(published.network_input(magnitude, log_magnitude.transpose(1, 2)))
    agree(ours(log_magnitude).logits, logits)


def test_renaming_weights_can_be_inverted(reference):
    conv2d = Conv2dClassifier(LABELS, width=8, scale=1).state_dict()
    cnn14 = Cnn14Classifier(LABELS, width=2).state_dict()
    assert names_in_no_table(reference, conv2d, "ENCODER_NAMES", "HEAD_NAMES") == ["head.log_scale"]
    assert names_in_no_table(reference, cnn14, "CNN14_NAMES", "CNN14_HEAD_NAMES") == []


def names_in_no_table(reference, state, *tables):
    """Return the names that no table has, after checking that all others survive renaming and its inverse."""
    for names in (getattr(reference, table) for table in tables):
        restored = reference.renamed(reference.renamed(state, names), reference.inverted(names))
        assert restored.keys() <= state.keys()
        state = {name: tensor for name, tensor in state.items() if name not in restored}
    return list(state)
