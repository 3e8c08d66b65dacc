"""The use cases: what may happen to the nouns, and in which order."""
