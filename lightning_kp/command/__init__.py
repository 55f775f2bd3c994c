"""What the verbs share: arguments, messages, LightningCLI, presets, trained networks."""
