-- The last decision that both sides have: one row per address and channel. It says what "moved" is measured against; the phase
-- is ongoing once both sides knew the address in such a decision.
select
    address,
    channel,
    shop_status,
    esp_status,
    set_esp,
    shop_root,
    esp_root,
    bool_or(
        shop_status <> 'absent'
        and (esp_status <> 'absent' or coalesce(esp_write in ('create', 'sms'), false))
    ) over (partition by address, channel) as is_ongoing
from scoped_decisions
where esp_acknowledged_at is not null and shop_acknowledged_at is not null
qualify row_number() over (partition by address, channel order by decided_at desc, decision_id desc) = 1
