"""How the embedded model is made: the pictures it learns from, the scorer, and the training itself."""
