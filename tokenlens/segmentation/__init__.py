"""Semantic segmentation: what every pixel shows, read off a ViT's tokens spread to the grid."""
