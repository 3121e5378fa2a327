-- Consent for the ESP: one row per decision that changes a contact, or makes or archives one. What is handed on is the shops'
-- event, unless the opt-out (or the complaint) is the ESP's own: then it goes to the contact that has not got it.
-- A deletion has no event, so its decision tells one from another.
-- `quiet`: whoever becomes subscribed without a genuinely new opt-in is not welcomed (behaviour 8.3). That is who is mailed by
-- an exception, whose opt-in came with the first load or followed them to another address, and who was not chosen until now.
with held_back as (
    select
        address,
        channel,
        shop_event
    from scoped_decisions
    where set_esp = 'subscribed' and skipped is not null
    group by all
),

subscribed as (
    select
        decided.decision_id,
        coalesce(
            decided.exception is null
            and origin.caused_by is null
            and origin.recorded_at > run.loaded_at
            and held_back.shop_event is null,
            false
        ) as is_new
    from decided
    cross join run
    left join scoped_events as origin on decided.shop_event = origin.event_id
    left join held_back
        on
            decided.address = held_back.address
            and decided.channel = held_back.channel
            and decided.shop_event = held_back.shop_event
    where decided.set_esp = 'subscribed' and decided.esp_write in ('create', 'status')
)

select
    'esp' as target,
    decided.esp_write as kind,
    decided.address as key,
    decided.address,
    decided.decision_id,
    case
        when decided.suppression is not null or (decided.set_esp = 'unsubscribed' and decided.esp_status = 'unsubscribed')
            then decided.esp_event
        else decided.shop_event
    end as caused_by,
    case decided.esp_write
        when 'create'
            then
                json_object(
                    'email', profiles.email,
                    'status', decided.set_esp,
                    'fields', profiles.fields,
                    'fields_hash', md5(profiles.version),
                    'consent_at', case
                        when decided.set_esp = 'subscribed' then strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00')
                    end,
                    'quiet', coalesce(not subscribed.is_new, false)
                )
        when 'status'
            then
                json_object(
                    'email', coalesce(contact.email, profiles.email),
                    'status', decided.set_esp,
                    'consent_at', case
                        when decided.set_esp = 'subscribed' then strftime(origin.latest_at, '%Y-%m-%dT%H:%M:%S+00:00')
                    end,
                    'quiet', coalesce(not subscribed.is_new, false)
                )
        else json_object('email', contact.email)
    end as payload,
    concat_ws(
        '|',
        decided.set_esp,
        decided.shop_event,
        decided.esp_event,
        decided.esp_root,
        if(decided.esp_write = 'archive', decided.decision_id, null)
    ) as version
from decided
left join profiles on decided.address = profiles.address
left join scoped_contacts as contact on decided.address = contact.address
left join scoped_events as origin on decided.shop_event = origin.event_id
left join subscribed on decided.decision_id = subscribed.decision_id
where decided.esp_write in ('create', 'status', 'archive')
