"""The HTTP door: routes, live events, keys, the page."""
