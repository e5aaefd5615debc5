"""Train a small U-Net with segloss.torch.structure_loss to find stained tissue in a micrograph from its grey values.

The picture is scikit-image's of an immunohistochemical stain; the mask is where the brown stain is, which colour tells
and grey alone does not quite. The network gives two maps, at full and half resolution, and the loss judges both against the
one mask (deep supervision): pixels count more where they differ from their surroundings.

The right third of the picture is held out. The script fails (exit code 1) if the loss did not fall clearly or if the
network does not beat the best global threshold of grey there.

    python torch_structure.py [--steps 100] [--seed 0] [--output segloss-torch.png] [--quick]
"""

import argparse
import os
import sys

import matplotlib
import numpy as np
import torch
from scipy import ndimage
from segloss.torch import StructureLoss
from skimage import color, data, filters
from torch import nn
from tqdm import tqdm

CLEARLY = 0.02  # the network's IoU must be this much above the threshold's


class UNet(nn.Module):
    """Three resolutions, and a map from the two finer ones."""

    def __init__(self, width=12):
        super().__init__()

        def block(inputs, outputs):
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
            )  # fmt: skip

        self.down = nn.ModuleList([block(1, width), block(width, 2 * width), block(2 * width, 4 * width)])
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.heads = nn.ModuleList([nn.Conv2d(2 * width, 1, 1), nn.Conv2d(width, 1, 1)])

    def forward(self, x):
        fine = self.down[0](x)
        middle = self.down[1](nn.functional.max_pool2d(fine, 2))
        coarse = self.down[2](nn.functional.max_pool2d(middle, 2))
        middle = self.up[0](torch.cat([middle, nn.functional.interpolate(coarse, scale_factor=2)], 1))
        fine = self.up[1](torch.cat([fine, nn.functional.interpolate(middle, scale_factor=2)], 1))
        half = nn.functional.interpolate(self.heads[0](middle), scale_factor=2, mode="bilinear")
        return [self.heads[1](fine), half]


def picture():
    """Grey values and the stain's mask, both 512 x 512."""
    rgb = data.immunohistochemistry()
    stain = ndimage.gaussian_filter(color.rgb2hed(rgb)[..., 2], 1.5)
    return color.rgb2gray(rgb).astype(np.float32), (stain > filters.threshold_otsu(stain)).astype(np.uint8)


def batch(grey, mask, size, count, rng):
    """Random squares, turned and mirrored, as tensors."""
    squares = []
    for _ in range(count):
        top, left = (rng.integers(extent - size + 1) for extent in grey.shape)
        square = np.stack([a[top : top + size, left : left + size] for a in (grey, mask)])
        square = np.rot90(square, rng.integers(4), (1, 2))
        squares.append(square[:, :, :: rng.choice([-1, 1])])
    squares = torch.from_numpy(np.stack(squares).astype(np.float32))
    return (squares[:, :1] - 0.5) * 4, squares[:, 1:]


def train(net, grey, mask, steps, size, count, rng):
    """The loss at every step; the network is trained in place."""
    criterion = StructureLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    history = []
    progress = tqdm(range(steps), desc="training", unit="step", mininterval=0.5)
    for _ in progress:
        image, target = batch(grey, mask, size, count, rng)
        optimizer.zero_grad()
        loss = criterion(net(image), target)  # a list of maps against one mask
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(loss.item())
        progress.set_postfix(loss=f"{history[-1]:.3f}", refresh=False)
    return history


def iou(found, mask):
    found, mask = found.astype(bool), mask.astype(bool)
    return (found & mask).sum() / max((found | mask).sum(), 1)


def draw(path, grey, mask, probability, split, history, scores):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(16, 4.4), layout="constrained")
    shown = [("grey values", grey, "gray"), ("stain", mask, "gray"), ("network", probability, "magma")]
    for axis, (title, image, colours) in zip(axes, shown):
        axis.imshow(image, cmap=colours)
        axis.axvline(split - 0.5, color="tab:cyan", linestyle="--")
        axis.set_title(title)
        axis.axis("off")
    axes[3].plot(history)
    axes[3].set(title="structure loss of two maps", xlabel="step", ylim=(0, None))
    figure.suptitle(
        f"Right of the line is held out: IoU {scores['network']:.3f}, best threshold of grey {scores['threshold']:.3f}"
    )
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="segloss-torch.png")
    parser.add_argument("--quick", action="store_true", help="few steps on small squares")
    options = parser.parse_args()
    steps, size, count = (30, 64, 4) if options.quick else (options.steps, 128, 4)

    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    grey, mask = picture()
    split = grey.shape[1] * 2 // 3
    net = UNet()
    history = train(net, grey[:, :split], mask[:, :split], steps, size, count, rng)

    net.eval()
    with torch.no_grad():
        probability = torch.sigmoid(net(torch.from_numpy((grey - 0.5) * 4)[None, None])[0])[0, 0].numpy()
    levels = np.linspace(0.1, 0.9, 81)
    best = levels[np.argmax([iou(grey[:, :split] < level, mask[:, :split]) for level in levels])]
    scores = {
        "network": iou(probability[:, split:] > 0.5, mask[:, split:]),
        "threshold": iou(grey[:, split:] < best, mask[:, split:]),
    }
    draw(options.output, grey, mask, probability, split, history, scores)

    tenth = max(1, len(history) // 10)
    first, last = np.mean(history[:tenth]), np.mean(history[-tenth:])
    print(f"loss {first:.3f} -> {last:.3f}; held out: IoU {scores['network']:.3f}, threshold {scores['threshold']:.3f}")
    print(f"picture: {os.path.abspath(options.output)}")
    if not (last < 0.8 * first and scores["network"] > scores["threshold"] + (0 if options.quick else CLEARLY)):
        print("FAILED: it has not learned what it should")
        return 1
    print("OK: the loss fell, and the network beats the threshold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
