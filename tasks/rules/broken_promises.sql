-- What must never happen, looked for in this run's decisions: no row, or the run stops before it loads anything.
-- Promise 12.1: whoever becomes subscribed on either side has an opt-in, and for every opt-out an opt-in that is newer (by its
-- times, or seen to follow it), and neither a bounce nor a complaint. Stated from the events alone, not from the statuses the
-- decision was made with. A tie breaks the promise. Two exceptions, each for one write and nothing more: by E1 a shop is set to
-- subscribed over its own opt-outs, but for those that followed an account from another address (behaviour 4.1); by E3 somebody
-- becomes active at the ESP without an opt-in, but never over an opt-out (behaviour 6.1).
with everybody as (
    select * from decisions
    union all by name
    select * from sms_decisions
),

subscribing as (
    select
        address,
        channel,
        set_esp in ('subscribed', 'pending') and esp_write is not null as at_esp,
        set_shop = 'subscribed' and shop_write is not null as at_shop,
        coalesce(exception = 'E1', false) and phase = 'first' and not at_esp as is_e1,
        coalesce(exception = 'E3', false) and set_esp = 'subscribed' and not at_shop as is_e3
    from decided
    where at_esp or at_shop
),

said as (
    select
        events.*,
        coalesce(origin.address <> events.address, false) as is_carried
    from scoped_events as events
    left join consent.events as origin on events.caused_by = origin.event_id
    semi join subscribing on events.address = subscribing.address and events.channel = subscribing.channel
),

given as (
    select * from said
    where kind = 'opted_in' and (actor <> 'system' or caused_by is not null)
),

followed as (
    select distinct refusals.event_id
    from said as refusals
    inner join given on refusals.address = given.address and refusals.channel = given.channel
    left join seen_after
        on
            refusals.address = seen_after.address
            and refusals.channel = seen_after.channel
            and coalesce(given.caused_by, given.event_id) = seen_after.in_root
            and coalesce(refusals.caused_by, refusals.event_id) = seen_after.out_root
    left join unheard
        on
            refusals.address = unheard.address
            and refusals.channel = unheard.channel
            and coalesce(given.caused_by, given.event_id) = unheard.in_root
            and coalesce(refusals.caused_by, refusals.event_id) = unheard.out_root
    where
        refusals.kind = 'opted_out'
        and (refusals.is_carried or not given.is_carried)
        and ((given.earliest_at > refusals.latest_at and unheard.in_root is null) or seen_after.in_root is not null)
),

unfollowed as (
    select
        said.*,
        said.side = 'shop' and not said.is_carried as is_the_shops_own
    from said
    anti join followed on said.event_id = followed.event_id
    where said.kind = 'opted_out'
)

select
    '12.1' as promise,
    subscribing.address,
    'would become subscribed without an opt-in newer than every opt-out' as sentence
from subscribing
where
    exists (
        select 1 from unfollowed
        where
            unfollowed.address = subscribing.address
            and unfollowed.channel = subscribing.channel
            and not (subscribing.is_e1 and unfollowed.is_the_shops_own)
    )
    or (
        not subscribing.is_e3
        and not exists (
            select 1 from given
            where
                given.address = subscribing.address
                and given.channel = subscribing.channel
                and (given.side = 'esp' or not subscribing.is_e1)
        )
    )
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
    decided.address,
    'an opt-out would reach neither side' as sentence
from everybody as decided
where
    if(decided.set_esp = 'keep', decided.esp_status, decided.set_esp) in ('subscribed', 'pending')
    and decided.suppression is null
    and decided.shop_status = 'unsubscribed'
    and decided.time_order <> 'esp_newer'
    and not (coalesce(decided.exception = 'E1', false) and decided.phase = 'first' and decided.set_esp = 'keep')
union all
select
    '12.9' as promise,
    decided.address,
    'no rule says what to do' as sentence
from everybody as decided
where decided.rule = 'none'
