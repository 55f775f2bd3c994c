"""Networks and their layers: encoders, pose decoders, reconstruction decoders, classifiers, pre-trained weights."""
