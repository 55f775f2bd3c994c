"""Whether discovery worked, judged after training and without labels."""
