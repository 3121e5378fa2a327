-- What goes back to the shops: one row per record that does not hold the outcome yet (behaviour 5.2).
-- A bounce is recorded beside the consent, never as an opt-out. What is handed on is the ESP's event, unless the opt-out is the
-- shops' own: then it goes to the records that have not said it, also where what the ESP has to say is a bounce.
with told as (
    select
        decided.* exclude (set_shop, shop_write),
        set_shop,
        shop_write,
        case
            when suppression is null and set_shop = 'unsubscribed' and shop_status = 'unsubscribed' then shop_event
            else esp_event
        end as handed_on
    from decided
    where shop_write is not null
    union all by name
    select
        decided.* exclude (set_shop, shop_write),
        'unsubscribed' as set_shop,
        'consent' as shop_write,
        shop_event as handed_on
    from decided
    where suppression = 'bounced' and shop_status = 'unsubscribed'
)

select
    records.shop as target,
    told.shop_write as kind,
    records.key,
    told.address,
    told.decision_id,
    told.handed_on as caused_by,
    case told.shop_write
        when 'bounce'
            then
                json_object(
                    'customer_id', records.customer_id,
                    'bounced_at', strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00'),
                    'reason', (origin.evidence ->> 'reason')
                )
        else json_object(
            'customer_id', records.customer_id,
            'order_id', records.order_id,
            'status', told.set_shop,
            'at', strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00')
        )
    end as payload,
    concat_ws('|', told.set_shop, told.shop_event, told.esp_event, told.esp_root) as version
from told
inner join records_to_tell as records on told.address = records.address and told.set_shop = records.set_shop
left join scoped_events as origin on told.handed_on = origin.event_id
where records.differs
