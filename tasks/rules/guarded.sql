-- Decided writes that need somebody's approval: one row per decision and side. These are the documented exceptions: whoever is
-- mailed by one was never asked, or said no.
select
    'shop' as side,
    'reverse' as flow,
    decision_id,
    address,
    channel,
    shop_status as status_before,
    set_shop as status_after,
    rule,
    exception as guard
from decided
where exception = 'E1' and shop_write is not null
union all
select
    'esp' as side,
    'forward' as flow,
    decision_id,
    address,
    channel,
    esp_status as status_before,
    set_esp as status_after,
    rule,
    exception as guard
from decided
where exception = 'E3' and esp_write is not null
