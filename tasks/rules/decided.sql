-- The decisions with their identity: one row per address and channel. A decision that says the same as the last one, from
-- the same facts, is the last one; only the others are written down.
with last as (
    select * from scoped_decisions
    qualify row_number() over (partition by address, channel order by decided_at desc, decision_id desc) = 1
),

compared as (
    select
        decisions.*,
        last.decision_id as last_decision_id,
        last.address is not null
        and ({
            'phase': decisions.phase,
            'shop': decisions.shop_status,
            'shop_moved': decisions.shop_moved,
            'shop_carried': decisions.shop_carried,
            'esp': decisions.esp_status,
            'esp_moved': decisions.esp_moved,
            'time_order': decisions.time_order,
            'chosen': decisions.chosen,
            'rule': decisions.rule,
            'exception': decisions.exception,
            'set_esp': decisions.set_esp,
            'set_shop': decisions.set_shop,
            'esp_write': decisions.esp_write,
            'shop_write': decisions.shop_write,
            'skipped': decisions.skipped,
            'shop_event': decisions.shop_event,
            'esp_event': decisions.esp_event
        } is not distinct from {
            'phase': last.phase,
            'shop': last.shop_status,
            'shop_moved': last.shop_moved,
            'shop_carried': last.shop_carried,
            'esp': last.esp_status,
            'esp_moved': last.esp_moved,
            'time_order': last.time_order,
            'chosen': last.chosen,
            'rule': last.rule,
            'exception': last.exception,
            'set_esp': last.set_esp,
            'set_shop': last.set_shop,
            'esp_write': last.esp_write,
            'shop_write': last.shop_write,
            'skipped': last.skipped,
            'shop_event': last.shop_event,
            'esp_event': last.esp_event
        }) as is_same
    from (
        select * from decisions
        union all by name
        select * from sms_decisions
    ) as decisions
    left join last on decisions.address = last.address and decisions.channel = last.channel
)

select
    compared.* exclude (last_decision_id),
    case
        when is_same then last_decision_id
        else md5(concat_ws('|', run.run_id, address, channel))
    end as decision_id,
    run.run_id,
    run.at as decided_at,
    case when esp_write is null then run.at end as esp_acknowledged_at,
    case when shop_write is null then run.at end as shop_acknowledged_at
from compared
cross join run
