"""The rendered arena: animals, their motion, pictures, and the truth about them."""
