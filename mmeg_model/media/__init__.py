"""From bytes to clips: the only place that touches FFmpeg. Imports neither torch nor Beam."""
