"""The loss of a window: `likelihood.py` in torch, float32 and differentiable. Any thread."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ghostnote.kernels.spec import LEAST_LOG_SCALE, LEVELS_16, ModelSpec


def nats(spec: ModelSpec, outputs: Tensor, levels: Tensor) -> Tensor:
    """Return the surprise [T], in nats, of levels int64 [T] under outputs [O, T]."""
    if not spec.mixtures:
        return F.cross_entropy(outputs.t(), levels, reduction="none")
    logits, means, log_scales = outputs.reshape(3, spec.mixtures, -1)  # [K, T] each
    log_scales = log_scales.clamp(min=LEAST_LOG_SCALE)
    narrow = torch.exp(-log_scales)
    half = LEVELS_16 // 2
    off = (levels - half).float() / half - means
    above, below = (off + 0.5 / half) * narrow, (off - 0.5 / half) * narrow
    # log(sigmoid(above) - sigmoid(below)) as a sum that float32 holds however far off it is: see
    # likelihood._log_between. The end bins are open, so that one side of theirs says nothing.
    first, last = levels == 0, levels == LEVELS_16 - 1
    log_bin = torch.log(-torch.expm1(-narrow / half)).masked_fill(first | last, 0.0)
    log_bin = log_bin + F.logsigmoid(above).masked_fill(last, 0.0)
    log_bin = log_bin + F.logsigmoid(-below).masked_fill(first, 0.0)
    return -torch.logsumexp(F.log_softmax(logits, 0) + log_bin, 0)
