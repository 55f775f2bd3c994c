"""The folder and logs of one training, and safeguards that keep a training going."""
