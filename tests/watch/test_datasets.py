from watch.program.datasets import ARCHIVE, archive


def test_mnist_is_where_the_watchers_of_both_frameworks_look_for_it() -> None:
    assert ARCHIVE.exists()
    assert (archive("mnist") or {})["x_train"].shape == (60_000, 28, 28)
