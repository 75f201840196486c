"""A gallery of pictures that a browser opens from the disk: a page, its table of cells, and thumbnails."""

from .fields import record_fields
from .records import GalleryAxis, GalleryCell, Value
from .writing import write_gallery

__all__ = ["GalleryAxis", "GalleryCell", "Value", "record_fields", "write_gallery"]
