"""The nouns: plain values without I/O, which every other room may use."""
