"""Parts that networks share: masking, pooling, temporal mixing, heads."""
