import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "zoo: all script pairs and all faults through `compare explain`; an hour, only with `-m zoo`"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "zoo" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("zoo") is not None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
