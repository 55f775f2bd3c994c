"""Shared by the verbs: arguments, messages, LightningCLI, presets, trained networks."""
