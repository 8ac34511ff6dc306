"""Estimates of the remaining time of each method."""

from otoscope.evaluation.pace import Clock, Lap, Pace


def test_the_time_that_is_left_falls_to_nothing():
    pace = Pace(clips=8)
    assert pace.remaining() == ""  # nothing is known yet
    pace.add([Lap("slow", 8.0, 4), Lap("fast", 4.0, 4), Lap("", 1.0, 0)], clips=4)
    assert pace.remaining() == "left: slow 8 s, fast 4 s"
    pace.add([Lap("slow", 16.0, 4)], clips=4)
    assert pace.remaining() == ""


def test_clips_of_an_earlier_run_do_not_count_as_fast():
    pace = Pace(clips=100, workers=2)
    pace.add([Lap("slow", 20.0, 2)], clips=10)
    assert pace.remaining() == "left: slow 8 min"  # 90 clips of 10 s in two processes


def test_a_lap_starts_where_the_last_one_ended():
    clock = Clock()
    for row in ("a", "b"):
        clock.lap(row, 1)
    assert [lap.row for lap in clock.laps] == ["a", "b"]
    assert all(0 <= lap.seconds < 60 for lap in clock.laps)
