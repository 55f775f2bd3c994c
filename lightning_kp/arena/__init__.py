"""The rendered arena: simulated animals, their motion, the rendered videos and their ground truth."""
