-- What goes back to the shops: one row per account that does not hold the outcome yet (behaviour 5.2).
-- A bounce is recorded beside the consent, never as an opt-out. What is handed on is the ESP's event, unless the opt-out is the
-- shops' own: then it goes to the accounts that have not said it.
with told as (
    select
        decided.*,
        case
            when suppression is null and set_shop = 'unsubscribed' and shop_status = 'unsubscribed' then shop_event
            else esp_event
        end as caused_by
    from decided
    where shop_write is not null
)

select
    accounts.shop as target,
    told.shop_write as kind,
    accounts.customer_id as key,
    told.address,
    told.decision_id,
    told.caused_by,
    case told.shop_write
        when 'bounce' then json_object(
            'customer_id', accounts.customer_id,
            'bounced_at', strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00'),
            'reason', origin.evidence ->> 'reason'
        )
        else json_object(
            'customer_id', accounts.customer_id,
            'status', told.set_shop,
            'at', strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00')
        )
    end as payload,
    concat_ws('|', told.set_shop, told.shop_event, told.esp_event) as version
from told
inner join accounts on told.address = accounts.address
left join consent.events as origin on told.caused_by = origin.event_id
where
    case told.set_shop
        when 'subscribed' then accounts.holds is distinct from 'in'
        when 'unsubscribed' then accounts.holds is distinct from 'out'
        else accounts.bounced_at is null
    end
