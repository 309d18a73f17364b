"""Images: decoded, cropped and augmented."""
