"""View of an explanation in a notebook."""

from __future__ import annotations

import base64
import html
from io import BytesIO
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from otoscope.explanation.result import Explanation


def notebook_view(explanation: Explanation) -> str:
    """Return the view of the explanation in a notebook: summary, players and picture."""
    # Sounds and picture are embedded, so that a saved notebook needs no other files.
    buffer = BytesIO()
    explanation.plot().savefig(buffer, format="png", dpi=70)
    parts = [f"<p>{html.escape(explanation.summary())}</p>"]
    for title, waveform in (
        ("original", explanation.original),
        ("evidence", explanation.evidence),
        ("remainder", explanation.remainder),
    ):
        data = base64.b64encode(_wav_bytes(waveform, explanation.sample_rate_hz)).decode()
        parts.append(f'<p>{title}<br><audio controls src="data:audio/wav;base64,{data}"></audio></p>')
    picture = base64.b64encode(buffer.getvalue()).decode()
    parts.append(f'<img src="data:image/png;base64,{picture}" alt="spectra">')
    return "\n".join(parts)


def _wav_bytes(waveform: Tensor, sample_rate_hz: int) -> bytes:
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, waveform.numpy(), sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
