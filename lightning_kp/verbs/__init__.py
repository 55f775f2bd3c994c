"""The words of the `kp` command beside Lightning's own, one module each."""
