"""What a framework would bring to the reference: layers, losses and SGD, in float64 NumPy."""
