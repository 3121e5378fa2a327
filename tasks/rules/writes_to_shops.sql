-- What goes back to the shops: one row per record that does not hold the outcome yet (behaviour 5.2).
-- A bounce is recorded beside the consent, never as an opt-out.
select
    records.shop as target,
    decided.shop_write as kind,
    records.key,
    decided.address,
    decided.decision_id,
    decided.esp_event as caused_by,
    case decided.shop_write
        when 'bounce' then json_object(
            'customer_id', records.customer_id,
            'bounced_at', strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00'),
            'reason', origin.evidence ->> 'reason'
        )
        else json_object(
            'customer_id', records.customer_id,
            'order_id', records.order_id,
            'status', decided.set_shop,
            'at', strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00')
        )
    end as payload,
    concat_ws('|', decided.set_shop, decided.shop_event, decided.esp_event) as version
from decided
inner join records_to_tell as records on decided.address = records.address and decided.set_shop = records.set_shop
left join consent.events as origin on decided.esp_event = origin.event_id
where decided.shop_write is not null and records.differs
