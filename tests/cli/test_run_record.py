"""What may differ between a run and its record."""

from otoscope.cli.run_record import _changed_options


def options(classifier, **others):
    return {"model": {"init_args": {"classifier": classifier, **others}}, "trainer": {"max_epochs": 3}}


def test_options_of_the_model_are_compared(tmp_path):
    assert _changed_options(options(str(tmp_path)), options(str(tmp_path))) == []
    [changed] = _changed_options(options(str(tmp_path), use_vq=True), options(str(tmp_path), use_vq=False))
    assert changed == "model.init_args.use_vq was True, is False"


def test_another_path_counts_unless_the_former_is_gone(tmp_path):
    (tmp_path / "a").mkdir()
    former, gone = str(tmp_path / "a"), str(tmp_path / "gone")
    assert _changed_options(options(former), options("elsewhere"))
    assert _changed_options(options([former, "owner/name"]), options(["elsewhere"]))
    assert _changed_options(options("owner/name"), options("elsewhere"))
    # Of several candidates, the one that is named may be the one that was taken.
    assert _changed_options(options([former, "owner/name"]), options("owner/name")) == []
    assert _changed_options(options(former), options(["elsewhere", former])) == []
    assert _changed_options(options([former, "owner/name"]), options("owner/other"))
    assert _changed_options(options(gone), options("elsewhere")) == []
    assert _changed_options(options([gone, "owner/name"]), options(["elsewhere", "owner/name"])) == []
