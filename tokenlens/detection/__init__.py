"""Detection: ATC and the other reducers inside a ViT-Adapter, and Mask R-CNN over it, without mmcv."""
