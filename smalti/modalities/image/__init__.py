"""Images: sources, files, figures and pictures of them."""

from smalti.modalities.image.decoding import read_image
from smalti.modalities.image.source import Columns, Images

__all__ = ["Columns", "Images", "read_image"]
