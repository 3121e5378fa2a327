-- What the policy's table is asked: one row per address and channel that either side knows or knew. An opt-out outlives its
-- record: somebody gone from the shops or from the ESP who had opted out there is `unsubscribed`, unless the other side has
-- a newer opt-in. A side that knows somebody who never said anything is `not_subscribed`.
-- `shop_carried`: an opt-out that stands in the shops followed an account from another address (behaviour 12.6). `chosen`: in
-- one of the merchant's groups, and not older than the start date.
with everybody as (
    select address from people
    union
    select address from scoped_addresses
    union
    select address from scoped_contacts
    union
    select address from scoped_events
    where channel = 'email'
),

unanswered as (
    select
        said.address,
        said.channel,
        bool_or(said.side = 'shop') as shop_out,
        bool_or(said.side = 'shop' and said.is_carried) as shop_carried,
        bool_or(said.side = 'esp') as esp_out
    from standing_events as said
    where said.kind = 'opted_out' and said.event_id not in (select answers.out_event from answers)
    group by said.address, said.channel
),

sides as (
    select
        everybody.address,
        'email' as channel,
        people.address is not null as shop_knows,
        coalesce(
            list_has_any(memberships.groups, run.groups)
            and (run.customers_since is null or people.last_active_at >= run.customers_since),
            false
        ) as chosen,
        coalesce(unanswered.shop_carried, false) as shop_carried,
        former.address is not null as shop_knew,
        contact.status as contact_status,
        coalesce(contact.removed_by_us, false) as removed_by_us,
        shop.status as shop_says,
        shop.event_id as shop_event,
        shop.root_event_id as shop_root,
        esp.status as esp_says,
        esp.event_id as esp_event,
        esp.root_event_id as esp_root,
        -- An opt-in is newer than the other side's opt-outs when each of them has a newer opt-in.
        case
            when shop.status = 'subscribed' and esp.status = 'unsubscribed'
                then if(unanswered.esp_out, 'unordered', 'shop_newer')
            when esp.status = 'subscribed' and shop.status = 'unsubscribed'
                then if(unanswered.shop_out, 'unordered', 'esp_newer')
            when shop.earliest_at > esp.latest_at then 'shop_newer'
            when esp.earliest_at > shop.latest_at then 'esp_newer'
            else 'unordered'
        end as time_order,
        coalesce(
            shop.status = 'subscribed' and (shop.earliest_at > archived.latest_at or archived.is_moved_to), false
        ) as came_back
    from everybody
    cross join run
    left join people on everybody.address = people.address
    left join memberships on everybody.address = memberships.address
    left join scoped_addresses as former on everybody.address = former.address
    left join scoped_contacts as contact on everybody.address = contact.address
    left join side_status as shop
        on everybody.address = shop.address and shop.channel = 'email' and shop.side = 'shop'
    left join side_status as esp
        on everybody.address = esp.address and esp.channel = 'email' and esp.side = 'esp'
    left join unanswered on everybody.address = unanswered.address and unanswered.channel = 'email'
    left join archivals as archived on everybody.address = archived.address
),

stated as (
    select
        sides.*,
        case
            when shop_says = 'unsubscribed' then 'unsubscribed'
            when shop_knows then coalesce(shop_says, 'not_subscribed')
            when shop_knew then 'deleted'
            else 'absent'
        end as shop_status,
        case
            when coalesce(contact_status, 'deleted') <> 'deleted' then coalesce(esp_says, 'not_subscribed')
            when esp_says = 'unsubscribed' and time_order <> 'shop_newer' then 'unsubscribed'
            when contact_status is null or (removed_by_us and came_back) then 'absent'
            else 'deleted'
        end as esp_status
    from sides
)

select
    stated.address,
    stated.channel,
    stated.contact_status,
    case when last.is_ongoing then 'ongoing' else 'first' end as phase,
    stated.shop_status,
    coalesce(
        stated.shop_root is not null
        and stated.shop_root is distinct from last.shop_root
        and stated.shop_root is distinct from last.esp_root,
        false
    )
    or ((stated.shop_status = 'deleted') is distinct from coalesce(last.shop_status = 'deleted', false)) as shop_moved,
    stated.shop_carried,
    stated.esp_status,
    coalesce(
        stated.esp_root is not null
        and stated.esp_root is distinct from last.esp_root
        and stated.esp_root is distinct from last.shop_root,
        false
    ) as esp_moved,
    stated.time_order,
    stated.chosen,
    suppressions.suppression,
    suppressions.event_id as suppression_event,
    stated.shop_event,
    stated.esp_event,
    stated.shop_root,
    stated.esp_root
from stated
left join settled_decisions as last on stated.address = last.address and stated.channel = last.channel
left join suppressions on stated.address = suppressions.address and stated.channel = suppressions.channel
