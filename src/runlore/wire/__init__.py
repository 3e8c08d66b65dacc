"""Bytes to nouns and back, without I/O."""
