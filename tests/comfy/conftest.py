"""The stand-in of ComfyUI for the tests of this folder."""

from comfy_fake import fake_comfy

__all__ = ["fake_comfy"]
