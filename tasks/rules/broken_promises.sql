-- What must never happen, looked for in this run's decisions: no row, or the run stops before it loads anything.
-- Promise 12.1: whoever becomes subscribed on either side has an opt-in newer than every opt-out (of one record: seen later),
-- and neither a bounce nor a complaint. Stated from the events alone, not from the statuses the decision was made with.
with subscribing as (
    select distinct address, channel
    from decided
    where
        (set_esp in ('subscribed', 'pending') and esp_write is not null)
        or (set_shop = 'subscribed' and shop_write is not null)
),

said as (
    select events.*
    from consent.events as events
    semi join subscribing on events.address = subscribing.address and events.channel = subscribing.channel
),

standing_no as (
    select
        opt_in.event_id,
        opt_in.address,
        opt_in.channel
    from said as opt_in
    inner join said as opt_out on opt_in.address = opt_out.address and opt_in.channel = opt_out.channel
    where
        opt_in.kind = 'opted_in'
        and opt_out.kind = 'opted_out'
        and not (
            opt_in.earliest_at > opt_out.latest_at
            or (opt_in.source = opt_out.source and opt_in.record = opt_out.record and opt_in.as_of_at > opt_out.as_of_at)
        )
),

good_yes as (
    select distinct
        said.address,
        said.channel
    from said
    anti join standing_no on said.event_id = standing_no.event_id
    where said.kind = 'opted_in' and said.actor <> 'system'
)

select
    '12.1' as promise,
    subscribing.address,
    'would become subscribed without an opt-in newer than every opt-out' as sentence
from subscribing
anti join good_yes using (address, channel)
union all
select
    '12.1' as promise,
    subscribing.address,
    'would become subscribed although mail bounced or was reported as spam' as sentence
from subscribing
semi join suppressions using (address, channel)
union all
select
    '12.2' as promise,
    facts.address,
    'an opt-out would reach neither side' as sentence
from facts
inner join decided on facts.address = decided.address and facts.channel = decided.channel
where
    decided.set_esp in ('subscribed', 'pending')
    and facts.shop_status = 'unsubscribed'
    and facts.time_order <> 'esp_newer'
union all
select
    '12.9' as promise,
    decided.address,
    'no rule says what to do' as sentence
from decided
where decided.rule = 'none'
