"""Two photographs of text, and everything a DB text detector is trained with: features, target maps and masks.

The photographs ship inside scikit-image, so nothing is downloaded. Words are found once, automatically, with the page's
local background as the reference; they become boxes, and the boxes become the label maps of the DB paper
(Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", AAAI 2020).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage import data, filters, measure

SHRINK_RATIO = 0.4
THRESHOLD_MIN, THRESHOLD_MAX = 0.3, 0.7
HELD_OUT_FROM = 249  # the first held-out column of the page: here the cut goes through the fewest words


class Sample(NamedTuple):
    """One image (H x W) with its features (F x H x W) and labels (H x W), all float32.

    A batch of N images is a Sample too: N x H x W, but F x N x H x W for the features, so that a network that works
    pixel by pixel can take them as a matrix, one column per pixel, without moving them.
    """

    image: np.ndarray
    features: np.ndarray
    threshold_map: np.ndarray
    threshold_mask: np.ndarray
    shrink_map: np.ndarray
    shrink_mask: np.ndarray

    @property
    def labels(self):
        """The four labels in the order in which ``segloss.DBLoss`` takes them."""
        return self[2:]


def load():
    """Return (page, handwriting, held_out): two samples to train on, and the right of the page to test on.

    The page is cut before anything is computed from it, so no filter and no label sees across the cut.
    """
    page = data.page().astype(np.float32) / 255
    handwriting = data.text().astype(np.float32) / 255
    samples = (
        make_sample(page[:, :HELD_OUT_FROM], contrast=0.05),
        make_sample(handwriting, contrast=0.07),
        make_sample(page[:, HELD_OUT_FROM:], contrast=0.05),
    )
    return standardise(samples)


def make_sample(image, contrast):
    """Features and labels of one image; ink is what is darker than its surroundings by ``contrast``."""
    boxes, noise = find_words(image, contrast)
    return Sample(image, make_features(image), *make_labels(image.shape, boxes, noise))


def standardise(samples):
    """Give every feature mean 0 and deviation 1 on the first sample; the others follow the same scale."""
    reference = samples[0].features
    mean, deviation = reference.mean((1, 2), keepdims=True), reference.std((1, 2), keepdims=True)
    return [s._replace(features=(s.features - mean) / deviation) for s in samples]


def stack(samples):
    """Pad samples with zeros to one size and make them a batch. Padded masks are zero, so padding never counts."""
    height, width = np.max([s.image.shape for s in samples], axis=0)

    def padded(array):
        missing = (height - array.shape[-2], width - array.shape[-1])
        return np.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, m) for m in missing])

    return Sample(*(np.stack([padded(a) for a in arrays], axis=-3) for arrays in zip(*samples)))


# -- Labels ------------------------------------------------------------------------------------------------------------


def find_words(image, contrast):
    """Return the boxes of the words, (top, left, bottom, right), and a map of specks that may or may not be text."""
    ink = image < filters.threshold_local(image, 31, method="gaussian", offset=contrast)
    # Letters are one to three pixels apart, words five and more: closing along the line joins only the letters.
    regions = ndimage.binary_closing(np.pad(ink, 5), np.ones((1, 5)))[5:-5, 5:-5]

    boxes, noise = [], np.zeros(image.shape, bool)
    for region in measure.regionprops(measure.label(regions)):
        top, left, bottom, right = region.bbox
        height, width = bottom - top, right - left
        # A word fills its box. A ruled line is too flat or too slanted for that, and stays background: the hard kind.
        if 6 <= height <= 40 and width >= 6 and region.extent > 0.25:
            boxes.append(region.bbox)
        elif height < 12 and width < 12:
            noise[top:bottom, left:right] |= region.image
    return boxes, ndimage.binary_dilation(noise)


def make_labels(shape, boxes, noise):
    """Return the DB labels (threshold_map, threshold_mask, shrink_map, shrink_mask) of word boxes.

    A box shrunken on all sides by D = A (1 - r^2) / L is text. A band of D to both sides of its border is where the
    threshold is learned: 0.7 on the border, falling to 0.3.
    """
    border, threshold_mask, shrink_map = np.zeros((3, *shape), np.float32)
    shrink_mask = np.ones(shape, np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5  # pixel centres
    shrink_mask[noise] = 0
    for top, left, bottom, right in boxes:
        height, width = bottom - top, right - left
        margin = height * width * (1 - SHRINK_RATIO**2) / (2 * (height + width))
        dy, dx = np.maximum(top - y, y - bottom), np.maximum(left - x, x - right)
        # The signed distance to the border, negative inside; the corners outside are round.
        distance = np.where((dy > 0) & (dx > 0), np.hypot(dy, dx), np.maximum(dy, dx))
        shrink_map[distance <= -margin] = 1
        shrink_mask[distance < 0] = 1  # a speck inside a word is the dot of an i
        threshold_mask[distance < margin] = 1
        border = np.maximum(border, np.clip(1 - np.abs(distance) / margin, 0, 1))
    threshold_map = THRESHOLD_MIN + (THRESHOLD_MAX - THRESHOLD_MIN) * border
    return threshold_map.astype(np.float32), threshold_mask, shrink_map, shrink_mask


# -- Features ----------------------------------------------------------------------------------------------------------


def make_features(image):
    """The fixed filter bank: F x H x W float32, the same for every position, blind to the brightness of the paper."""
    smooth = ndimage.gaussian_filter
    detail = image - smooth(image, 12)
    detail /= np.sqrt(smooth(detail**2, 16)) + 0.02  # the constant keeps the grain of blank paper small
    ink = np.clip(-detail, 0, 4)
    slope_y, slope_x = smooth(detail, 1, order=(1, 0)), smooth(detail, 1, order=(0, 1))
    strokes = [np.abs(s) for s in (slope_x, slope_y, slope_x + slope_y, slope_x - slope_y)]

    bank = [smooth(detail, scale) for scale in (0.7, 1.5, 3, 6)]
    # Ink gathered along and across the line of text.
    bank += [smooth(ink, scale) for scale in ((1, 4), (1, 8), (2, 12), (4, 1), (8, 2))]
    # How much stroke runs in each of four directions, nearby and further away.
    bank += [smooth(stroke, scale) for stroke in strokes for scale in (2, 5)]
    # Gaps of known sizes filled in.
    bank += [ndimage.grey_closing(ink, size) for size in ((1, 5), (5, 5), (3, 9), (9, 9))]
    # What lies to all sides, so that a pixel can tell the middle of a word from its rim.
    bank += neighbours(smooth(ink, 1.2)) + neighbours(smooth(strokes[0], 1.5))
    return np.stack(bank).astype(np.float32)


def neighbours(feature):
    """The feature seen from 20 places around each pixel."""
    above_and_below = [(dy, 0) for dy in (-10, -7, -5, -3, 3, 5, 7, 10)]
    left_and_right = [(0, dx) for dx in (-12, -8, -5, -3, 3, 5, 8, 12)]
    corners = [(dy, dx) for dy in (-5, 5) for dx in (-5, 5)]
    height, width = feature.shape
    wide = np.pad(feature, 12, mode="symmetric")
    return [wide[12 + dy :, 12 + dx :][:height, :width] for dy, dx in above_and_below + left_and_right + corners]
