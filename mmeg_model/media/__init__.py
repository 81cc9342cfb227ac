"""From bytes to clips: the only place that touches FFmpeg. Imports neither torch nor Beam."""

from typing import Final

DECODE_VERSION: Final = 1
"""Raised whenever the same bytes give other pixels, samples, masks or times than before."""
