"""Writes what cpp_dice_bce trains on: scikit-image's micrograph of stained tissue in grey values (image.pgm), and where
the brown stain is (mask.pgm), which colour tells and grey alone does not quite.

    python picture.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage import color, data, filters

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
rgb = data.immunohistochemistry()
stain = ndimage.gaussian_filter(color.rgb2hed(rgb)[..., 2], 1.5)
pictures = {"image": color.rgb2gray(rgb), "mask": stain > filters.threshold_otsu(stain)}
for name, picture in pictures.items():
    height, width = picture.shape
    pixels = np.rint(255 * picture).astype(np.uint8).tobytes()
    (folder / f"{name}.pgm").write_bytes(b"P5 %d %d 255\n" % (width, height) + pixels)
