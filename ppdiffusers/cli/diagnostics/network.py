"""Which sources of models answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.cli.printing import say
from ppdiffusers.io.http_client import check_reachable
from ppdiffusers.io.hubs import hubs_in_order
from ppdiffusers.io.hubs.base import Hub
from ppdiffusers.io.resolve import is_offline


def check_network() -> Section:
    """Ask each source, in the order in which models are looked for."""
    section = Section(say("Sources, in the order in which they are asked", "模型来源（按查询顺序）"))
    hubs, offline = hubs_in_order(), is_offline()
    if offline:
        told = say(f"not asked, since {offline}", f"未查询（{offline}）")
        section.facts += [(hub.title, f"{hub.endpoint}  {told}") for hub in hubs]
        return section
    with ThreadPoolExecutor(len(hubs)) as pool:
        found = list(pool.map(_ask, hubs))
    section.facts += [(hub.title, f"{hub.endpoint}  {told}") for hub, (told, _) in zip(hubs, found)]
    if not any(answered for _, answered in found):
        section.problems.append(
            say(
                "No source answers: check the network and HTTPS_PROXY. On a machine that has a network, "
                "`ppdiffusers download NAME --to DIR` makes a folder that loads here.",
                "没有来源可以访问：请检查网络和 HTTPS_PROXY。也可以在有网络的机器上运行 "
                "`ppdiffusers download 名称 --to 目录`，把得到的目录拷到这里使用。",
            )
        )
    return section


def _ask(hub: Hub) -> tuple[str, bool]:
    start = time.perf_counter()
    reason = check_reachable(hub.endpoint)
    if reason is None:
        milliseconds = (time.perf_counter() - start) * 1000
        return say(f"answers in {milliseconds:.0f} ms", f"正常，{milliseconds:.0f} 毫秒"), True
    return say(f"does not answer: {reason}", f"无法访问：{reason}"), False
