"""Names in a writer's folder in staging that the program and the sender share."""

OVERFLOW = "overflow"
"""The link to the writer's folder on the disk, and the folder of a home where those lie."""
ACKS = ("ack", ".ack-next", ".ack-before")
"""Where the sender says how far it is: two files take turns, the third name is for the change."""
ACK_BYTES = 4096
"""The room that is set aside for each: one page."""
