-- The outcome for everybody: one row per address and channel. Suppressions first, then the policy's table, then what the
-- promises and the merchant's choice of groups leave of it, as writes. A tie cannot be: the table decides every case once.
with judged as (
    select
        facts.*,
        case facts.suppression
            when 'complained' then if(facts.contact_status in ('subscribed', 'pending'), 'unsubscribed', 'keep')
            when 'bounced' then 'keep'
            else rules.set_esp
        end as set_esp,
        case facts.suppression
            when 'complained' then 'unsubscribed'
            when 'bounced' then 'bounced'
            else rules.set_shop
        end as set_shop,
        coalesce('S-' || facts.suppression, rules.rule) as rule,
        case facts.suppression
            when 'complained' then 'Reported us as spam: never mailed again by us, and the shop is told.'
            when 'bounced' then 'Mail does not arrive: stays as it is, and the shop is told beside the consent.'
            else rules.sentence
        end as sentence,
        if(facts.suppression is null, rules.exception, null) as exception
    from facts
    left join policy as rules
        on
            facts.phase = rules.phase
            and facts.shop_status = rules.shop
            and facts.shop_moved = rules.shop_moved
            and facts.shop_carried = rules.shop_carried
            and facts.esp_status = rules.esp
            and facts.esp_moved = rules.esp_moved
            and facts.time_order = rules.time_order
            and facts.chosen = rules.chosen
),

-- Keeping an opt-out means that every record of the side has it: an account of another shop, or a contact to whose address an
-- opt-out followed, may still say otherwise (behaviour 2.12, 12.6). An opt-out that a newer opt-in of the other side took back
-- is kept by nobody.
told as (
    select
        judged.* exclude (set_esp, set_shop),
        case
            when
                set_esp = 'keep' and suppression is null
                and esp_status = 'unsubscribed' and contact_status in ('subscribed', 'pending', 'not_subscribed')
                then 'unsubscribed'
            else set_esp
        end as set_esp,
        set_shop = 'keep' and suppression is null and shop_status = 'unsubscribed'
        and not (esp_status = 'subscribed' and time_order = 'esp_newer') as is_kept_out,
        if(is_kept_out, 'unsubscribed', set_shop) as set_shop
    from judged
),

-- Whether any record of theirs would have to be told each outcome; null: there is no record that holds such a thing.
records as (
    select
        address,
        bool_or(differs) filter (where set_shop = 'subscribed') as opt_ins,
        bool_or(differs) filter (where set_shop = 'unsubscribed') as opt_outs,
        bool_or(differs) filter (where set_shop = 'bounced') as bounces
    from records_to_tell
    group by address
),

confirmed as (
    select
        judged.* exclude (set_esp, set_shop),
        -- Double opt-in by the ESP: an opt-in that came after the first load asks once for confirmation (behaviour 2.8).
        case
            when
                judged.set_esp = 'subscribed' and run.double_opt_in = 'esp' and origin.recorded_at > run.loaded_at
                and (judged.contact_status is distinct from 'subscribed')
                then 'pending'
            else judged.set_esp
        end as set_esp,
        case judged.set_shop
            when 'subscribed' then records.opt_ins
            when 'unsubscribed' then records.opt_outs
            when 'bounced' then records.bounces
        end as to_tell,
        if(judged.is_kept_out and not coalesce(to_tell, false), 'keep', judged.set_shop) as set_shop,
        coalesce(contact_status, 'absent') in ('absent', 'deleted') as is_gone,
        to_tell is not null as has_record
    from told as judged
    cross join run
    left join scoped_events as origin on judged.shop_event = origin.event_id
    left join records on judged.address = records.address
),

written as (
    select
        confirmed.*,
        case
            when set_esp = 'keep' or set_esp = contact_status then null
            when set_esp = 'archived' and is_gone then null
            when set_esp = 'archived' then 'archive'
            -- Who has left the ESP is not made again to be told; who was never there is, where the table says so.
            when set_esp = 'unsubscribed' and is_gone and esp_status <> 'absent' then null
            when is_gone and not chosen then null
            when contact_status is null then 'create'
            else 'status'
        end as esp_write,
        case
            when set_shop = 'keep' or not coalesce(to_tell, false) then null
            -- An opt-in of a shop stays where it was given: a tick in an order, or in one of several shops, is not copied.
            when set_shop = 'subscribed' and shop_status = 'subscribed' then null
            when set_shop = 'bounced' then 'bounce'
            else 'consent'
        end as shop_write
    from confirmed
)

select
    address,
    channel,
    phase,
    shop_status,
    shop_moved,
    shop_carried,
    esp_status,
    esp_moved,
    time_order,
    chosen,
    suppression,
    set_esp,
    set_shop,
    coalesce(rule, 'none') as rule,
    coalesce(sentence, 'No rule matches: nothing is done.') as sentence,
    exception,
    esp_write,
    shop_write,
    case
        when
            is_gone and not chosen
            and (set_esp in ('subscribed', 'not_subscribed', 'pending') or (set_esp = 'unsubscribed' and esp_status = 'absent'))
            then 'in none of the chosen groups, or older than the start date'
        when set_shop <> 'keep' and set_shop <> shop_status and not has_record then 'no record in the shop to write to'
    end as skipped,
    shop_event,
    coalesce(suppression_event, esp_event) as esp_event,
    shop_root,
    esp_root
from written
