"""The libraries that the page runs, as files of their own packages: charts by Vega, tables by DataTables."""

from importlib import resources


def bundles() -> dict[str, str]:
    """Name -> source of each: the modules `vega` and `datatables`, and the style sheet `datatables-style`."""
    import vl_convert
    from altair import SCHEMA_VERSION

    files = resources.files("itables") / "html"
    return {
        # The first two numbers: vl_convert has one release of each.
        "vega": vl_convert.javascript_bundle(vl_version=".".join(SCHEMA_VERSION.lstrip("v").split(".")[:2])),
        "datatables": (files / "dt_bundle.js").read_text(encoding="utf-8"),
        "datatables-style": (files / "dt_bundle.css").read_text(encoding="utf-8"),
    }
