-- Consent events that one page of customer accounts reveals: one row per account whose consent differs from what we knew,
-- and one more for the old address of an account that opted out and changed its address at once. A value seen for the first
-- time was set between the account's creation and now, a changed one between the last time we saw the old value and now;
-- where the platform states the time, that is the time. An emptied opt-in is an inferred opt-out. What we wrote ourselves
-- and have not settled yet is no event of theirs, nor is our own value with the platform's time. An answer asked for before
-- we last saw or wrote the account says nothing new, but for an opt-out that our write ran over. "Subscribed" by the merchant's
-- hand is an opt-in only where we see the value change, and never where mail bounced or was reported as spam. Text messages
-- likewise, for the phone number; an account whose number is gone together with its consent speaks of the number it had.
with accounts as (
    select
        incoming.*,
        known.address as known_address,
        known.consent as known_consent,
        known.consent_at as known_consent_at,
        known.sms_address as known_sms_address,
        known.sms_consent as known_sms_consent,
        known.sms_consent_at as known_sms_consent_at,
        known.seen_at as known_seen_at
    from incoming_customers as incoming
    left join shop.customers as known on incoming.shop = known.shop and incoming.customer_id = known.customer_id
),

each_channel as (
    select
        shop,
        customer_id,
        'email' as channel,
        address,
        consent,
        consent_at,
        consent_raw,
        consent_actor as actor,
        created_at,
        known_address,
        known_consent,
        known_consent_at,
        known_seen_at
    from accounts
    union all
    select
        shop,
        customer_id,
        'sms' as channel,
        coalesce(sms_address, known_sms_address) as address,
        sms_consent as consent,
        sms_consent_at as consent_at,
        sms_consent as consent_raw,
        cast(null as varchar) as actor,
        created_at,
        known_sms_address as known_address,
        known_sms_consent as known_consent,
        known_sms_consent_at as known_consent_at,
        known_seen_at
    from accounts
),

compared as (
    select
        *,
        known_address is null as is_first_said,
        coalesce(known_seen_at <= (select page.asked_at from page), true) as is_fresh,
        (consent is distinct from known_consent) as differs,
        (consent_at is distinct from known_consent_at) as is_restated
    from each_channel
    where address is not null
),

last_said as (
    select
        compared.shop,
        compared.customer_id,
        compared.channel,
        arg_max(events.actor, (events.as_of_at, events.event_id)) as actor,
        arg_max(events.kind, (events.as_of_at, events.event_id)) filter (where events.actor <> 'system') as own_kind,
        arg_max(events.actor || ' ' || events.kind, (events.as_of_at, events.event_id)) filter (
            where events.as_of_at <= (select page.asked_at from page)
        ) as held_then
    from compared
    inner join consent.events as events
        on
            compared.shop = events.source
            and events.record = 'customer:' || compared.customer_id
            and compared.channel = events.channel
    where events.kind in ('opted_in', 'opted_out', 'pending')
    group by compared.shop, compared.customer_id, compared.channel
),

changed as (
    select compared.*
    from compared
    left join last_said
        on
            compared.shop = last_said.shop
            and compared.customer_id = last_said.customer_id
            and compared.channel = last_said.channel
    where
        (is_fresh and (is_first_said or differs or (is_restated and last_said.actor is distinct from 'system')))
        or (
            not is_fresh and consent = 'out' and differs
            and address = known_address and last_said.own_kind is distinct from 'opted_out'
            and last_said.held_then is distinct from 'system opted_out'
        )
),

suppressed as (
    select
        events.address,
        events.channel
    from consent.events as events
    semi join (
        select
            address,
            channel
        from compared
        where actor = 'merchant' and consent = 'in'
    ) as by_hand on events.address = by_hand.address and events.channel = by_hand.channel
    where events.kind in ('opted_in', 'opted_out', 'pending', 'bounced', 'complained')
    group by events.address, events.channel, events.source, events.record
    having bool_or(events.kind = 'complained') or arg_max(events.kind, (events.as_of_at, events.event_id)) = 'bounced'
),

ours as (
    select
        target as shop,
        key as customer_id,
        'email' as channel,
        case (payload ->> 'status') when 'subscribed' then 'in' else 'out' end as consent
    from load.writes
    where kind = 'consent' and state = 'sent'
),

said as (
    select
        changed.*,
        case
            when
                consent = 'in' and actor = 'merchant'
                and (
                    known_seen_at is null
                    or not differs
                    or exists (
                        select 1 from suppressed
                        where suppressed.address = changed.address and suppressed.channel = changed.channel
                    )
                )
                then null
            when consent = 'in' then 'opted_in'
            when consent = 'out' then 'opted_out'
            when consent = 'pending' then 'pending'
            when known_consent = 'in' then 'opted_out'
        end as kind,
        consent is null as is_inferred,
        coalesce(consent_at, (select page.answered_at from page)) as latest_at,
        case when is_fresh and not (is_first_said and not differs) then known_seen_at end as not_before_at
    from changed
    anti join ours using (shop, customer_id, channel, consent)
),

addressed as (
    select
        said.* exclude (address),
        unnest(
            if(kind = 'opted_out' and known_address <> address, [address, known_address], [address])
        ) as address
    from said
    where kind is not null
)

select
    md5(concat_ws('|', shop, 'customer', customer_id, address, kind, latest_at)) as event_id,
    address,
    channel,
    'shop' as side,
    shop as source,
    'customer:' || customer_id as record,
    kind,
    coalesce(actor, 'self') as actor,
    -- A write of ours moves the time an account was last seen, though we saw nothing of its text messages then.
    coalesce(
        consent_at,
        least(
            greatest(
                case when channel = 'email' then not_before_at end, created_at, timestamptz '1970-01-01 00:00:00+00'
            ),
            latest_at
        )
    ) as earliest_at,
    latest_at,
    greatest(latest_at, not_before_at) as as_of_at,
    cast(null as varchar) as caused_by,
    is_inferred,
    json_object('value', consent_raw, 'value_before', known_consent) as evidence
from addressed
