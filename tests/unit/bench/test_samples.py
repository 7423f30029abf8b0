"""A figure says no more than its samples."""

from luminaguard.bench.samples import Samples, Target


def samples(**taken: list[float]) -> Samples:
    made = Samples()
    for name, values in taken.items():
        for value in values:
            made.add(name, value)
    return made


def test_a_figure_is_compared_with_its_floor_of_the_same_run() -> None:
    made = samples(restore=[60.0, 70.0, 80.0], floor=[20.0, 35.0, 50.0])
    (row, floor) = made.rows({"restore": Target(p50=60, floor="floor")})
    assert (row["median"], row["ratio"], row["floor"]) == (70.0, 2.0, "floor")
    assert (floor["ratio"], floor["target"]) == (None, None)


def test_without_its_floor_a_figure_has_no_ratio() -> None:
    (row,) = samples(restore=[60.0]).rows({"restore": Target(floor="floor")})
    assert (row["ratio"], row["floor"]) == (None, None)


def test_one_outlier_in_twenty_is_not_the_95th_percentile_two_are() -> None:
    assert samples(call=[1.0] * 19 + [9.0]).p95("call") == 1.0
    assert samples(call=[1.0] * 18 + [9.0] * 2).p95("call") == 9.0
    assert samples(call=[1.0, 9.0]).p95("call") == 9.0


def test_a_figure_keeps_its_unit() -> None:
    (row,) = samples(memory=[18.0]).rows({"memory": Target(p50=25, unit="MiB")})
    assert (row["unit"], row["target"]) == ("MiB", 25)
