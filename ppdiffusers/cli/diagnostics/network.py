"""Check which model hubs are reachable."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.cli.printing import localized
from ppdiffusers.core.addresses import shown_address
from ppdiffusers.io.http_client import check_reachable
from ppdiffusers.io.hubs import hubs_in_order
from ppdiffusers.io.hubs.base import Hub
from ppdiffusers.io.resolve import is_offline


def check_network() -> Section:
    """Send a request to each hub, in the order in which models are searched."""
    section = Section(localized("Hubs, in search order", "模型仓库（按查找顺序）"))
    hubs, offline = hubs_in_order(), is_offline()
    if offline:
        status = localized(f"not checked: {offline}", f"未检查（{offline}）")
        section.facts += [(hub.title, f"{shown_address(hub.endpoint)}  {status}") for hub in hubs]
        return section
    with ThreadPoolExecutor(len(hubs)) as pool:
        found = list(pool.map(_check, hubs))
    section.facts += [(hub.title, f"{shown_address(hub.endpoint)}  {status}") for hub, (status, _) in zip(hubs, found)]
    if not any(reachable for _, reachable in found):
        section.problems.append(
            localized(
                "No hub is reachable: check the network and HTTPS_PROXY. Alternatively, run `ppdiffusers download NAME "
                "--to DIR` on a machine with a network and copy the folder to this machine.",
                "所有模型仓库都无法访问：请检查网络和 HTTPS_PROXY。也可以在能联网的机器上运行 "
                "`ppdiffusers download 名称 --to 目录`，再把该目录拷贝到本机使用。",
            )
        )
    return section


def _check(hub: Hub) -> tuple[str, bool]:
    start = time.perf_counter()
    reason = check_reachable(hub.endpoint)
    if reason is None:
        milliseconds = (time.perf_counter() - start) * 1000
        return localized(f"reachable, {milliseconds:.0f} ms", f"正常，{milliseconds:.0f} 毫秒"), True
    return localized(f"unreachable: {reason}", f"无法访问：{reason}"), False
