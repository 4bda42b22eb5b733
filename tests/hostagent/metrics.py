"""What a capsule uses, as its guestd tells. Read when it is asked for: an idle capsule stays idle."""

from aiohttp import web

from hostagent.errors import ApiError
from hostagent.threads import call

RANGES = {"5m": 300, "10m": 600, "1h": 3600, "2h": 7200, "6h": 21600, "12h": 43200, "24h": 86400}
POINTS_KEPT = 10000


async def metrics(request, capsule):
    """The points that were asked for within the range, and one of now while it runs."""
    name = request.query.get("range", "10m")
    if name not in RANGES:
        raise ApiError("invalid_request", "range: one of " + ", ".join(RANGES))
    if capsule.status == "running":
        told = await call((await capsule.guest()).metrics)
        capsule.points.append({"timestamp_unix": told["ts"], "cpu_pct": told["cpu_used_pct"],
                               "mem_bytes": told["mem_used"], "disk_bytes": told["disk_used"]})
        del capsule.points[:-POINTS_KEPT]
    newest = capsule.points[-1]["timestamp_unix"] if capsule.points else 0
    points = [point for point in capsule.points if point["timestamp_unix"] > newest - RANGES[name]]
    return web.json_response({"range": name, "points": points})
