"""What the benchmark compares is the same loss: each torch peer in its registry against segloss, small and without a
clock. Its own run does this for every peer at full size before a time counts."""

import importlib
import importlib.util
import pathlib
import sys
import warnings

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[3] / "Benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import cases  # noqa: E402
import measure  # noqa: E402
import peers_segloss  # noqa: E402
import plan  # noqa: E402

PACKAGES = {"torch": "torch", "kornia": "kornia", "smp": "segmentation_models_pytorch", "monai": "monai"}
INSTALLED = [peer for peer, package in PACKAGES.items() if importlib.util.find_spec(package)]
# Large enough that every class occurs in every sample, which kornia's mean is over.
SMALL = {
    "pranet": (2, 1, 40, 48), "db": (2, 3, 64, 80), "page": (2, 1, 64, 80), "classes": (2, 5, 64, 64),
    "remote": (2, 3, 192, 192), "volume": (2, 2, 16, 32, 32), "tiny": (1, 1, 64, 64), "anchors": (1, 5, 9, 10),
}  # fmt: skip


def test_which_peers_are_left_out():
    missing = sorted(PACKAGES.keys() - set(INSTALLED))
    if missing:
        warnings.warn(f"not installed here, and so not compared: {', '.join(missing)}", stacklevel=1)
    assert "torch" in INSTALLED


@pytest.mark.parametrize("targets", cases.TARGETS)
@pytest.mark.parametrize("peer", INSTALLED)
@pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES)
def test_a_peer_has_segloss_value_and_gradient(case, peer, targets):
    peer = importlib.import_module("peers_" + peer)
    inputs = case.inputs(SMALL[case.shapes[0]], 1, "float32", targets if case.whole else "float")
    runner = peers_segloss.Runner(case, inputs, "warm")
    reference = runner.value(runner.step()), [gradient.copy() for gradient in runner.gradients()]
    for name, make in peer.CONTENDERS.items():
        if name in plan.COMPILED:
            continue  # seconds each: the benchmark's own run compares them
        runner = make(case, inputs, "warm")
        if runner is None or getattr(runner, "differs", ""):
            continue
        value, forward = runner.value(runner.step()), runner.value(runner.forward())
        found = measure.agreement(runner, value, reference)
        bounds = map(max, peer.TOLERANCE.get(name, (0, 0)), measure.TOLERANCE["float32"])
        assert all(difference <= bound for difference, bound in zip(found, bounds)), (name, found)
        # The same operations in the same order.
        assert forward == value, name


def test_a_call_is_as_long_as_it_takes_itself(monkeypatch):
    """Not as counting its memory takes, which is longer: short calls would be measured once, as long ones are."""
    clock = [0.0]

    def takes(seconds):
        def run(*_):
            clock[0] += seconds

        return run

    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(measure.gc, "collect", takes(1))
    contender = measure.Contender("short", takes(0.01))
    contender.prepare(takes(5), is_new=False)
    assert contender.estimate == pytest.approx(0.01)
    assert contender.rounds(3, 0.25) == 3
    contender.visit(0.08)
    assert len(contender.seconds) == 8


@pytest.mark.parametrize("name", plan.SETS)
def test_a_set_names_cases_and_shapes_that_there_are(name):
    for process in plan.SETS[name]():
        for job in process.jobs:
            case = cases.CASES[job.case]
            assert job.shape in {cases.SHAPES[shape] for shape in case.shapes}
            assert job.targets == "float" or case.whole
            assert job.dtype == "float32" or not case.no_bfloat16
    measured = {job.case for process in plan.full() for job in process.jobs}
    assert measured == set(cases.CASES)


def test_every_loss_is_a_case():
    import segloss

    # `db_step` and the makers of targets are no losses.
    assert {case.loss for case in cases.CASES.values()} == set(segloss.LOSSES)
