-- Consent to text messages for the ESP: one row per decision that changes it, and contact that holds the number or shall.
with told as (
    select
        decided.*,
        accounts.holder as contact
    from decided
    inner join scoped_events as given on decided.shop_event = given.event_id
    inner join sms_accounts as accounts
        on
            decided.address = accounts.address
            and given.source = accounts.shop
            and given.record = accounts.record
    where decided.esp_write = 'sms' and decided.set_esp = 'subscribed'
    union all by name
    select
        decided.*,
        contacts.address as contact
    from decided
    inner join scoped_contacts as contacts on decided.address = contacts.sms_address
    where
        decided.esp_write = 'sms'
        and decided.set_esp = 'unsubscribed'
        and contacts.status <> 'deleted'
        and contacts.sms_status is distinct from 'unsubscribed'
)

select
    'esp' as target,
    'sms' as kind,
    told.address || '/' || told.contact as key,
    told.address,
    told.decision_id,
    case
        when told.suppression is not null or (told.set_esp = 'unsubscribed' and told.esp_status = 'unsubscribed')
            then told.esp_event
        else told.shop_event
    end as caused_by,
    json_object(
        'email', coalesce(contacts.email, people.email, told.contact),
        'phone', told.address,
        'status', told.set_esp,
        'consent_at', case when told.set_esp = 'subscribed' then strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00') end
    ) as payload,
    concat_ws('|', told.set_esp, told.shop_event, told.esp_event, told.esp_root) as version
from told
left join scoped_contacts as contacts on told.contact = contacts.address
left join people on told.contact = people.address
left join scoped_events as origin on told.shop_event = origin.event_id
