"""The drummer's network: what is trained is what is exported, and it can be learnt."""

from pathlib import Path

import numpy as np
import torch

from ghostnote.inference.drummer_file import load_drummer, save_drummer
from ghostnote.inference.drummer_spec import DrummerSpec, control_rows, weight_shapes
from ghostnote.inference.drummer_steps import BAR_STEPS, MAX_STROKES, Stroke, features
from ghostnote.training.drummer import stroke_arrays
from ghostnote.training.drummer_net import DrummerNet

SPEC = DrummerSpec(("jazz", "jazz/swing", "rock"), channels=8, width=16, dilations=(1, 2, 16))


def _some_steps(rng: np.random.Generator, count: int) -> list[list[Stroke]]:
    steps = []
    for _ in range(count):
        found = {
            (int(rng.integers(9)), int(rng.integers(32))): int(rng.integers(32))
            for _ in range(int(rng.integers(0, 4)))
        }
        steps.append([(role, loud, late) for (role, late), loud in sorted(found.items())])
    return steps


def test_the_graph_gives_the_nats_of_the_net_that_was_trained(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net, rng = DrummerNet(SPEC).eval(), np.random.default_rng(2)
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == weight_shapes(SPEC)
    save_drummer(tmp_path / "d.onnx", SPEC, state, {})
    drummer = load_drummer(tmp_path / "d.onnx")
    assert drummer.spec == SPEC

    steps = _some_steps(rng, 90)  # beyond the longest lag
    rows = np.array([features(strokes) for strokes in steps], np.float32)
    asked = np.concatenate(
        [
            control_rows(SPEC, {"jazz": 1.0}, 0.3, 100.0, np.arange(BAR_STEPS), bar == 2, bar == 3)
            for bar in range(6)
        ]
    )[: len(steps)]
    arrays = {k: torch.from_numpy(v) for k, v in stroke_arrays([*enumerate(steps)]).items()}
    with torch.no_grad():
        said = net.steps(torch.from_numpy(rows[None]), torch.from_numpy(asked[None]))[0]
        place = arrays["place"]
        wanted = net.surprise(said[place], torch.from_numpy(asked)[place], arrays).numpy()

    memory, found = drummer.begin(), []
    for at, strokes in enumerate(steps):
        forced = np.full((MAX_STROKES, 3), 0, np.int64)
        forced[:, 0] = 9
        forced[: len(strokes)] = np.array(strokes, np.int64).reshape(-1, 3)
        played, nats, memory = drummer.run(
            memory, asked[at], np.full((MAX_STROKES, 3), 0.5, np.float32), forced
        )
        assert played.tolist() == forced.tolist()
        found.append(nats[: min(len(strokes) + 1, MAX_STROKES)])
        np.testing.assert_allclose(memory.rows[-1], rows[at], atol=1e-6)
    np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-4, atol=1e-4)


def test_a_stroke_is_drawn_by_its_uniform_from_what_is_likely(tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = {name: value.numpy() for name, value in DrummerNet(SPEC).state_dict().items()}
    save_drummer(tmp_path / "d.onnx", SPEC, state, {})
    drummer = load_drummer(tmp_path / "d.onnx")
    asked = control_rows(SPEC, {}, 0.5, 120.0, np.arange(1), False, False)[0]
    half = np.full((MAX_STROKES, 3), 0.5, np.float32)
    shares = []
    for role in range(10):
        forced = np.full((MAX_STROKES, 3), -1, np.int64)
        forced[0] = (role, 0, 0)
        shares.append(np.exp(-drummer.run(drummer.begin(), asked, half, forced)[1][0, 0]))
    assert sum(shares) == np.float32(1.0) or abs(sum(shares) - 1.0) < 1e-4
    edges = np.cumsum(shares)
    for uniform in (0.01, 0.2, 0.5, 0.77, 0.99):
        drawn, _ = drummer.step(drummer.begin(), asked, np.full_like(half, uniform))
        first = drawn[0][0] if drawn else 9
        assert first == int(np.searchsorted(edges, uniform))
        # Roles in order, and those of one role in order of time.
        assert [(role, late) for role, _, late in drawn] == sorted(
            {(role, late) for role, _, late in drawn}
        )
