-- What the table for text messages is asked: one row per phone number that anybody said something about; none before the first
-- sync is complete, or while SMS is switched off (behaviour 9.1). Facts are as for e-mail, but for `chosen`: the opt-in was
-- given since the start date. A contact that holds the number and never said anything is `not_subscribed`.
with numbers as (
    select distinct
        events.address,
        run.sms_since
    from scoped_events as events
    cross join run
    where events.channel = 'sms' and run.sms_since is not null and run.loaded_at is not null
),

contacts as (
    select
        contacts.sms_address as address,
        bool_or(contacts.status <> 'deleted') as is_held,
        bool_or(contacts.status <> 'deleted' and contacts.sms_status in ('subscribed', 'pending')) as is_texted
    from scoped_contacts as contacts
    semi join numbers on contacts.sms_address = numbers.address
    group by contacts.sms_address
),

unanswered as (
    select
        said.address,
        bool_or(said.side = 'shop') as shop_out,
        bool_or(said.side = 'shop' and said.is_carried) as shop_carried,
        bool_or(said.side = 'esp') as esp_out
    from standing_events as said
    where
        said.channel = 'sms'
        and said.kind = 'opted_out'
        and said.event_id not in (select answers.out_event from answers)
    group by said.address
),

sides as (
    select
        numbers.address,
        numbers.address in (select sms_accounts.address from sms_accounts) as shop_knows,
        contacts.is_held,
        coalesce(contacts.is_texted, false) as is_texted,
        coalesce(unanswered.shop_carried, false) as shop_carried,
        shop.status as shop_says,
        shop.event_id as shop_event,
        shop.root_event_id as shop_root,
        esp.status as esp_says,
        esp.event_id as esp_event,
        esp.root_event_id as esp_root,
        case
            when shop.status = 'subscribed' and esp.status = 'unsubscribed'
                then if(unanswered.esp_out, 'unordered', 'shop_newer')
            when esp.status = 'subscribed' and shop.status = 'unsubscribed'
                then if(unanswered.shop_out, 'unordered', 'esp_newer')
            else 'unordered'
        end as time_order,
        coalesce(shop.status = 'subscribed' and shop.earliest_at >= numbers.sms_since, false) as chosen
    from numbers
    left join contacts on numbers.address = contacts.address
    left join unanswered on numbers.address = unanswered.address
    left join side_status as shop on numbers.address = shop.address and shop.channel = 'sms' and shop.side = 'shop'
    left join side_status as esp on numbers.address = esp.address and esp.channel = 'sms' and esp.side = 'esp'
),

stated as (
    select
        sides.*,
        case
            when shop_says = 'unsubscribed' then 'unsubscribed'
            when shop_knows then coalesce(shop_says, 'not_subscribed')
            when shop_says is not null then 'deleted'
            else 'absent'
        end as shop_status,
        case
            when is_held then coalesce(esp_says, 'not_subscribed')
            when esp_says = 'unsubscribed' and time_order <> 'shop_newer' then 'unsubscribed'
            when is_held is null then 'absent'
            else 'deleted'
        end as esp_status
    from sides
)

select
    stated.address,
    'sms' as channel,
    case when last.is_ongoing then 'ongoing' else 'first' end as phase,
    stated.shop_status,
    coalesce(
        stated.shop_root is not null
        and stated.shop_root is distinct from last.shop_root
        and stated.shop_root is distinct from last.esp_root,
        false
    ) as shop_moved,
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
    stated.is_texted,
    suppressions.suppression,
    suppressions.event_id as suppression_event,
    stated.shop_event,
    stated.esp_event,
    stated.shop_root,
    stated.esp_root
from stated
left join settled_decisions as last on stated.address = last.address and last.channel = 'sms'
left join suppressions on stated.address = suppressions.address and suppressions.channel = 'sms'
