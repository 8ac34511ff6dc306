"""The benchmark of report pages measures when a page is ready."""

from benchmarks.report_pages import opening_s


def test_a_page_counts_as_open_when_it_is_ready(browser, tmp_path):
    path = tmp_path / "late.html"
    path.write_text(
        "<!doctype html><title>t</title>"
        "<meta http-equiv=Content-Security-Policy content=\"script-src 'unsafe-inline'\">"
        "<script>setTimeout(() => { document.title = 'done'; }, 300)</script>"
    )
    seconds = opening_s(browser, path, "document.title === 'done'", 2)
    assert len(seconds["all"]) == 2
    assert 0.3 <= min(seconds["all"]) <= seconds["median"] < 10
