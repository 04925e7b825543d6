"""Warping by a coarse grid of half-pixel vectors, as both ends do it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dense_flow(vectors: Tensor, height: int, width: int) -> Tensor:
    """Vectors [B, h, w, 2] in half pixels of the picture to flow [B, height, width, 2] in pixels of the target size.

    Bilinear between the centres of the cells, flat beyond the outermost.
    """
    unit = 0.5 * width / (vectors.shape[2] * 16)
    # Torch interpolates planes several times faster than interleaved components.
    field = vectors.permute(0, 3, 1, 2).to(torch.float32).contiguous() * unit
    return F.interpolate(field, size=(height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def warp(source: Tensor, flow: Tensor, sharpness: Tensor | None = None) -> Tensor:
    """source [B, C, H, W] read at p + flow(p), flow [B, H, W, 2] as (x, y) in pixels; rim repeated.

    sharpness [B, 1, H, W]: 0 for bilinear, which blurs what it moves by half pixels, 1 for bicubic (Keys 1981, a =
    -0.75), or a blend of both; None: bilinear everywhere.
    Where the flow is zero the result is the source, bit for bit: a still background is never filtered.
    """
    _, _, height, width = source.shape
    y = torch.arange(height, dtype=torch.float32, device=source.device)
    x = torch.arange(width, dtype=torch.float32, device=source.device)
    px = (flow[..., 0] + x).clamp_(0, width - 1)
    py = (flow[..., 1] + y[:, None]).clamp_(0, height - 1)
    where = torch.stack([px.mul_(2).add_(1).div_(width).sub_(1), py.mul_(2).add_(1).div_(height).sub_(1)], -1)
    warped = F.grid_sample(source.float(), where, mode="bilinear", padding_mode="border", align_corners=False)
    if sharpness is not None:
        sharp = F.grid_sample(source.float(), where, mode="bicubic", padding_mode="border", align_corners=False)
        warped = torch.lerp(warped, sharp, sharpness)
    still = ((flow[..., 0] == 0) & (flow[..., 1] == 0))[:, None]
    return torch.where(still, source.float(), warped)
