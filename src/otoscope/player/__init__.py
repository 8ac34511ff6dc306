"""Player of an explanation as a fragment of HTML, for reports, notebooks and the app: it needs no other file.

A page holds `player_style` and `player_script` once, and a fragment for each player; see `player_html`.
"""

from otoscope.player.clip import Clip, Track
from otoscope.player.fragment import player_html, player_script, player_style, standalone_html
from otoscope.player.pictures import Picture, level_picture, share_picture
from otoscope.player.sounds import EncodedSound, encode_sound

__all__ = [
    "Clip",
    "EncodedSound",
    "Picture",
    "Track",
    "encode_sound",
    "level_picture",
    "player_html",
    "player_script",
    "player_style",
    "share_picture",
    "standalone_html",
]
