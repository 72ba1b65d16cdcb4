"""Models that several families have: autoencoders, text encoders, image encoders."""
