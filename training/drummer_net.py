"""The drummer's network: a WaveNet whose samples are sixteenths, over a net that plays one of them.

Causal dilated layers (arXiv 1609.03499, section 2) read what was played in the 128 sixteenths
before and in the same one a bar, two and four bars ago; from what they say three small layers draw
stroke after stroke of the sixteenth: whether another and of which role, how loud, how early or
late. `inference/drummer_graph.py` writes the same as an ONNX graph that keeps its past.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ghostnote.inference.drummer_spec import LAGS, DrummerSpec
from ghostnote.inference.drummer_steps import FEATURES, NO_ROLE, OFFSETS, SUMMARY, VELOCITIES

IMPOSSIBLE = -1e9


class DrummerNet(nn.Module):
    """Gives the surprise of every stroke of a stretch, the strokes before it known.

    The parameters have the names and shapes of `drummer_spec.weight_shapes`.
    """

    def __init__(self, spec: DrummerSpec) -> None:
        super().__init__()
        self.spec = spec
        channels, width, controls = spec.channels, spec.width, spec.controls
        self.start = nn.Linear(FEATURES * (1 + len(LAGS)) + controls, channels)
        self.past = nn.ModuleList(nn.Linear(2 * channels, 2 * channels) for _ in spec.dilations)
        self.control = nn.ModuleList(
            nn.Linear(controls, 2 * channels, bias=False) for _ in spec.dilations
        )
        self.out = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in spec.dilations)
        sizes = {"role": NO_ROLE + 1, "loud": VELOCITIES, "late": OFFSETS}
        self.from_past = nn.ModuleDict({k: nn.Linear(channels + controls, width) for k in sizes})
        self.from_step = nn.ModuleDict({k: nn.Linear(SUMMARY, width, bias=False) for k in sizes})
        self.head = nn.ModuleDict({k: nn.Linear(width, size) for k, size in sizes.items()})
        self.loud_of_role = nn.Embedding(NO_ROLE, width)
        self.late_of_role = nn.Embedding(NO_ROLE, width)
        self.late_of_loud = nn.Embedding(VELOCITIES, width)
        for table in (self.loud_of_role, self.late_of_role, self.late_of_loud):
            nn.init.normal_(table.weight, std=0.1)

    def steps(self, rows: Tensor, controls: Tensor, dropout: float = 0.0) -> Tensor:
        """Return what the past says at each sixteenth, [B, T, channels].

        Parameters
        ----------
        rows : [B, T, FEATURES]
            What was played in each sixteenth; seen from the next one on.
        controls : [B, T, K]
            What is asked of each sixteenth.
        """
        before = [_later(rows, lag) for lag in (1, *LAGS)]
        x = self.start(torch.cat([*before, controls], -1))
        x = nn.functional.dropout(x, dropout, self.training)
        total = torch.zeros_like(x)
        for number, dilation in enumerate(self.spec.dilations):
            both = self.past[number](torch.cat([_later(x, dilation), x], -1))
            a, b = (both + self.control[number](controls)).chunk(2, -1)
            z = nn.functional.dropout(torch.tanh(a) * torch.sigmoid(b), dropout, self.training)
            residual, skip = self.out[number](z).chunk(2, -1)
            x, total = x + residual, total + skip
        return torch.relu(total)

    def surprise(self, said: Tensor, controls: Tensor, strokes: dict[str, Tensor]) -> Tensor:
        """Return the nats [N, 3] of N strokes: their role, velocity, offset (0 of no stroke).

        Parameters
        ----------
        said, controls : [N, channels], [N, K]
            Of the sixteenth of each stroke.
        strokes : dict
            "summary" float [N, SUMMARY]; "role", "loud", "late" int64 [N]; "last_role",
            "last_late" int64 [N], of the stroke before in the same sixteenth (role -1: none).
        """
        known = torch.cat([said, controls], -1)
        role, loud, late = strokes["role"], strokes["loud"], strokes["late"]
        real = role < NO_ROLE
        one = role.clamp(max=NO_ROLE - 1)

        def hidden(of: str) -> Tensor:
            both: Tensor = self.from_past[of](known) + self.from_step[of](strokes["summary"])
            return both

        role_logits = self.head["role"](torch.relu(hidden("role")))
        loud_logits = self.head["loud"](torch.relu(hidden("loud") + self.loud_of_role(one)))
        late_logits = self.head["late"](
            torch.relu(hidden("late") + self.late_of_role(one) + self.late_of_loud(loud))
        )
        last_role, last_late = strokes["last_role"][:, None], strokes["last_late"][:, None]
        numbers = torch.arange(NO_ROLE + 1)[None]
        full = (numbers == last_role) & (last_late == OFFSETS - 1)
        role_logits = role_logits.masked_fill((numbers < last_role) | full, IMPOSSIBLE)
        again = (one[:, None] == last_role) & (torch.arange(OFFSETS)[None] <= last_late)
        late_logits = late_logits.masked_fill(again, IMPOSSIBLE)

        def nats(logits: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits, target, reduction="none")

        return torch.stack(
            [
                nats(role_logits, role),
                nats(loud_logits, loud) * real,
                nats(late_logits, late) * real,
            ],
            -1,
        )


def _later(x: Tensor, steps: int) -> Tensor:
    """Return [B, T, C] moved on by so many sixteenths, zeros before."""
    if steps >= x.shape[1]:
        return torch.zeros_like(x)
    return torch.cat([torch.zeros_like(x[:, :steps]), x[:, :-steps]], 1)
