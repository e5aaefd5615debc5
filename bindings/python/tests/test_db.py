"""DBLoss: three maps, three terms, three variants."""

import numpy as np
import pytest
import reference as ref
import segloss
from catalog import BY_NAME, named
from support import SHAPES, SMALL, bounds, check_gradient, check_value, id_of, scene

PARTS = {"loss", "loss_shrink_maps", "loss_threshold_maps", "loss_binary_maps"}


def check(entry, inputs, kind, options=None, **reference_options):
    value, grads = entry.run(inputs, options)
    want, wanted = ref.db_loss(*inputs.values(), **reference_options)
    on_value, on_gradient = bounds(kind, entry.divides)
    check_value(value, want, on_value)
    check_gradient(grads[0], wanted, on_gradient)
    return value, grads[0]


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("shape", SHAPES, ids=id_of)
@pytest.mark.parametrize("entry", named("db"), ids=repr)
def test_sizes(entry, shape, kind):
    inputs = entry.draw(shape, dtype=kind.replace("f", "float"))
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    on_value, on_gradient = bounds(kind, entry.divides)
    check_value(value, want, on_value)
    check_gradient(grads[0], wanted[0], on_gradient)
    assert entry.make()(*inputs.values()) == value


@pytest.mark.parametrize("entry", [e for e in named("db") if "-2" not in e.name], ids=repr)
def test_parts_add_up(entry):
    parts, _ = entry.run(entry.draw(SMALL))
    assert set(parts) == PARTS
    assert parts["loss"] == pytest.approx(sum(parts[k] for k in PARTS - {"loss"}), rel=1e-14)


# Binary labels only: with soft ones float32 and float64 may pick different, equally large negatives.
@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize(
    "name", ["binary", "no positives", "all positive", "few negatives", "nothing valid", "all valid"]
)
@pytest.mark.parametrize("entry", named("db"), ids=repr)
def test_scenes(entry, name, kind):
    inputs = entry.draw(SMALL, dtype=kind.replace("f", "float"))
    g, m = scene(name, SMALL)
    inputs.update(
        shrink_map=g.astype(np.uint8),
        shrink_mask=m.astype(np.uint8),
        threshold_mask=np.zeros_like(m) if name == "nothing valid" else inputs["threshold_mask"],
    )
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    on_value, on_gradient = bounds(kind, entry.divides)
    check_value(value, want, on_value)
    check_gradient(grads[0], wanted[0], on_gradient)


@pytest.mark.parametrize("name", ["soft", "soft, weighted mask", "faint"])
@pytest.mark.parametrize("entry", named("db"), ids=repr)
def test_soft_labels(entry, name):
    inputs = entry.draw(SMALL)
    inputs["maps"] = 0.02 + 0.96 * np.random.default_rng(0).random(inputs["maps"].shape)
    inputs["shrink_map"], inputs["shrink_mask"] = scene(name, SMALL)
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    check_value(value, want, 1e-12)
    check_gradient(grads[0], wanted[0], 1e-12)


@pytest.mark.parametrize("kind", ["f64", "f32"])
@pytest.mark.parametrize("entry", named("db"), ids=repr)
def test_constant_maps(entry, kind):
    """The worst case of a float32 sum in every term at once."""
    inputs = entry.draw((2, 255, 257), dtype=kind.replace("f", "float"))
    for channel, p in enumerate([0.3, 0.45, 0.1][: inputs["maps"].shape[1]]):
        inputs["maps"][:, channel] = p
    inputs["threshold_map"][:] = 0.7
    value, grads = entry.run(inputs)
    want, wanted = entry.reference(*inputs.values())
    on_value, on_gradient = bounds(kind, entry.divides)
    check_value(value, want, on_value)
    check_gradient(grads[0], wanted[0], on_gradient)


def test_a_batch_without_text_costs_exactly_one():
    """Shrink 0, threshold 0, binary 1: the "loss stays 1.0" of the issue trackers, and no gradient anywhere."""
    inputs = BY_NAME["db"].draw(SMALL, dtype=np.float32)
    nothing = np.zeros(SMALL, np.uint8)
    parts, grad = segloss.DBLoss().value_and_grad(
        inputs["maps"], inputs["threshold_map"], nothing, nothing, inputs["shrink_mask"]
    )
    assert parts == {"loss": 1.0, "loss_shrink_maps": 0.0, "loss_threshold_maps": 0.0, "loss_binary_maps": 1.0}
    assert not grad.any()


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    "entry, options",
    [
        (name, options)
        for name, changes in {
            "db": [dict(alpha=2, beta=7), dict(alpha=0.0, beta=0.0), dict(eps=0.5), dict(balance_loss=False)],
            "db-bce": [dict(ohem_ratio=1), dict(ohem_ratio=0.25), dict(ohem_ratio=0), dict(eps=0.5)],
            "db-l1": [dict(balance_loss=False)],
            "db-wenmuzhou": [dict(alpha=2, beta=7), dict(ohem_ratio=0.5), dict(eps=0.5)],
            "db-wenmuzhou-2": [dict(alpha=9), dict(ohem_ratio=0.5)],
            "db-paper": [dict(alpha=2, beta=7), dict(ohem_ratio=0.5), dict(eps=0.5), dict(step_k=10.0), dict(step_k=3)],
            "db-paper-probability": [dict(alpha=2, beta=7), dict(ohem_ratio=0.5)],
        }.items()
        for options in changes
    ],
    ids=str,
)
def test_options(entry, options):
    """`eps` in particular: it reaches Dice and L1, and never the balanced term."""
    entry = BY_NAME[entry]
    inputs = entry.draw((2, 23, 29))
    variant = "paper" if "paper" in entry.name else "wenmuzhou" if "wenmuzhou" in entry.name else "published"
    main = {"db-bce": "BCELoss", "db-l1": "MaskL1Loss"}.get(entry.name, "DiceLoss")
    short = {"ohem_ratio": "ratio", "balance_loss": "balanced"}
    named_shortly = {
        "step_k": 0.0 if "probability" in entry.name else 50.0,
        **{short.get(k, k): v for k, v in options.items()},
    }
    make = segloss.DBLoss(
        main_loss_type=main, variant=variant, **({"step_k": 0.0} if "probability" in entry.name else {}), **options
    )
    value, grad = make.value_and_grad(*inputs.values())
    want, wanted = ref.db_loss(*inputs.values(), variant=variant, main=main, **named_shortly)
    check_value(value, want, 1e-12)
    check_gradient(grad, wanted, 1e-12)


@pytest.mark.parametrize("entry", named("db-bce", "db-wenmuzhou", "db-paper"), ids=repr)
def test_fallback(entry):
    """Background alone: the hardest ten of each mined term are pushed down."""
    inputs = entry.draw((2, 23, 29))
    inputs["shrink_map"] = np.zeros((2, 23, 29))
    value, grads = entry.run(inputs, {"fallback_negative_num": 10})
    want, wanted = one_with_fallback(entry, inputs)
    check_value(value, want, 1e-12)
    check_gradient(grads[0], wanted, 1e-12)
    assert np.count_nonzero(grads[0][:, 0]) >= 10


def one_with_fallback(entry, inputs):
    variant = "paper" if "paper" in entry.name else "wenmuzhou" if "wenmuzhou" in entry.name else "published"
    return ref.db_loss(
        *inputs.values(),
        variant=variant,
        main="BCELoss",
        step_k=0.0 if "probability" in entry.name else 50.0,
        fallback=10,
    )


def test_positional_arguments_keep_the_order_of_the_original():
    inputs = BY_NAME["db"].draw(SMALL).values()
    assert segloss.DBLoss(True, "BCELoss", 2, 7, 1, 0.5)(*inputs) == segloss.DBLoss(
        balance_loss=True, main_loss_type="BCELoss", alpha=2, beta=7, ohem_ratio=1, eps=0.5
    )(*inputs)


@pytest.mark.parametrize("variant, alpha, beta", [("published", 5, 10), ("wenmuzhou", 1, 10), ("paper", 1, 10)])
def test_factors_of_each_variant(variant, alpha, beta):
    inputs = BY_NAME["db"].draw(SMALL).values()
    assert segloss.DBLoss(variant=variant)(*inputs) == segloss.DBLoss(variant=variant, alpha=alpha, beta=beta)(*inputs)


def test_two_maps_are_the_shrink_term_alone():
    """WenmuZhou's shortcut: without alpha, and nothing for T."""
    inputs = BY_NAME["db-wenmuzhou-2"].draw(SMALL)
    parts, grad = segloss.DBLoss(variant="wenmuzhou", alpha=7).value_and_grad(*inputs.values())
    assert parts["loss"] == segloss.L1BalanceCELoss()(
        inputs["maps"][:, 0], None, None, inputs["shrink_map"], inputs["shrink_mask"], None, None
    )
    assert not grad[:, 1].any()


# ---------------------------------------------------------------- the variants, by what sets them apart


def test_terms_touch_their_own_map():
    for name, touched in {"db": "111", "db-wenmuzhou": "111", "db-paper": "110", "db-paper-probability": "111"}.items():
        entry = BY_NAME[name]
        _, (grad,) = entry.run(entry.draw(SMALL))
        assert "".join(str(int(grad[:, c].any())) for c in range(3)) == touched, name


def test_paper_keeps_its_gradient_where_the_step_saturates():
    """P - T = .9 on a negative: the binary map is 1 to float32, a probability form would push with 0, the logits form
    with k."""
    maps = np.zeros((1, 3, 1, 4), np.float32)
    maps[0, 0], maps[0, 1] = [0.95, 0.95, 0.5, 0.5], 0.05
    g, ones = np.array([[[0, 0, 1, 1]]], np.uint8), np.ones((1, 1, 4), np.uint8)
    _, grad = segloss.DBLoss(variant="paper").value_and_grad(maps, maps[:, 1], ones, g, ones)
    assert grad[0, 1, 0, :2] == pytest.approx(-50 / (4 + 1e-6), rel=1e-6)


def test_wenmuzhou_drops_soft_labels():
    """A byte of 0.999 is 0: the pixel is neither positive nor negative and is not pushed on P."""
    entry = BY_NAME["db-wenmuzhou"]
    inputs = entry.draw(SMALL)
    inputs["shrink_map"][0, 0, :5] = [0.999, 0.5, 0.001, 0.25, 0.75]
    inputs["shrink_mask"][:] = 1
    _, (grad,) = entry.run(inputs)
    assert not grad[0, 0, 0, :5].any() and grad[0, 2, 0, :5].all()
