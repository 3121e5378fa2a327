-- Decided writes that may need somebody's approval: one row per decision, side and guard. E1 and E3 are the documented
-- exceptions: whoever is mailed by one was never asked, or said no. The others are the kinds of mass change (behaviour 12.10):
-- changes of people whom the side knows already. An opt-out that somebody made is none of them, only one that was concluded
-- from something missing or emptied.
select
    'shop' as side,
    'reverse' as flow,
    decided.decision_id,
    decided.address,
    decided.channel,
    decided.shop_status as status_before,
    decided.set_shop as status_after,
    decided.rule,
    decided.sentence,
    case
        when decided.exception = 'E1' then 'E1'
        when decided.set_shop = 'subscribed' then 'subscribe'
        when decided.set_shop = 'unsubscribed' and said.is_inferred then 'unsubscribe_inferred'
    end as guard
from decided
left join scoped_events as said on decided.esp_event = said.event_id
where decided.shop_write is not null and guard is not null
union all
select
    'esp' as side,
    'forward' as flow,
    decided.decision_id,
    decided.address,
    decided.channel,
    decided.esp_status as status_before,
    decided.set_esp as status_after,
    decided.rule,
    decided.sentence,
    case
        when decided.exception = 'E3' then 'E3'
        when decided.esp_write = 'archive' then 'delete'
        when decided.esp_write = 'create' then null
        when decided.set_esp in ('subscribed', 'pending') then 'subscribe'
        when decided.set_esp = 'unsubscribed' and said.is_inferred then 'unsubscribe_inferred'
    end as guard
from decided
left join scoped_events as said on decided.shop_event = said.event_id
where decided.esp_write is not null and guard is not null
