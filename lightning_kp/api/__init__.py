"""What ``import lightning_kp`` offers: the work of the verbs as functions, with typed results."""
