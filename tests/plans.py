"""Ways in which Postgres may plan statements, as options of a DSN.

Which it takes by itself depends on what is in its tables, and what it makes of rows that change
meanwhile depends on that."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

_WAYS: Final = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "material")

ANY: Final = {"plan_cache_mode": "auto"} | {f"enable_{way}": "on" for way in _WAYS}
"""Whatever the server thinks best, and not only what Loom lets it do."""

PLANS: Final[dict[str, dict[str, str]]] = {
    "as Loom wants it": {},
    "any": ANY,
    "no nested loops": ANY | {"enable_nestloop": "off"},
    "no hash joins": ANY | {"enable_hashjoin": "off"},
    "nested loops": ANY | {"enable_hashjoin": "off", "enable_mergejoin": "off"},
    "merge joins": ANY | {"enable_hashjoin": "off", "enable_nestloop": "off"},
    "no hashed aggregates": ANY | {"enable_hashagg": "off"},
    "whole tables": ANY | {"enable_indexscan": "off", "enable_bitmapscan": "off"},
}


def with_plan(dsn: str, plan: str) -> str:
    """The same database, whose statements are planned in that way."""
    if not PLANS[plan]:
        return dsn
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(PLANS[plan])}"
