"""Stages of a picture beyond text to image: image to image, inpainting, the hires pass, the refiner, crops."""
