"""A time range of a video -> clips: one seek, one pass."""
