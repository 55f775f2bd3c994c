"""Networks: encoders, pose decoders, reconstruction decoders, perceptual features."""
