"""Types of what metrics give and what they are computed of; `*images` are the leading axes, such as image and stage."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt64

Values = Float64[np.ndarray, "*images"]
"""one number for each image and stage"""
Counts = Int64[np.ndarray, "*images"]
"""how many patches, of each image and stage"""
Words = UInt64[np.ndarray, "*images words"]
"""patterns of patches, 64 bits a word"""
Maps = Float64[np.ndarray, "*images patches"]
"""a number for each patch"""
Square = Float64[np.ndarray, "*images features features"]
"""sums over images, of each two features of one run"""
Between = Float64[np.ndarray, "*images features others"]
"""sums over images, of each feature of run a and each of run b"""
Spectrum = Float64[np.ndarray, "*images directions"]
"""a number for each canonical direction"""
Features = Float[np.ndarray, "chunk features"]
"""class-token features of some images"""
Influence = Float64[np.ndarray, " chunk"]
"""how much each of some images moves a value"""
