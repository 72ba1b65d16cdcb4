"""What a graph says by itself: fused nodes read back, rules on its structure, its sites, what reads its inputs."""
