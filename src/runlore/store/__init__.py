"""Where nouns are kept: one interface per noun, one backend per folder."""
