-- The outcome for text messages: one row per phone number. Nothing is ever written to a shop (behaviour 9). Suppressions first,
-- then the table. An opt-in goes to the contact of the account that gave it; a no goes to every contact with the number, also
-- to one that has not got it though we know it.
with judged as (
    select
        facts.*,
        case
            when
                facts.is_texted
                and (
                    facts.suppression = 'complained'
                    or (facts.suppression is null and rules.set_esp = 'keep' and facts.esp_status = 'unsubscribed')
                )
                then 'unsubscribed'
            when facts.suppression is not null then 'keep'
            else rules.set_esp
        end as set_esp,
        coalesce('S-' || facts.suppression, rules.rule, 'none') as rule,
        case facts.suppression
            when 'complained' then 'Reported us as spam: no text messages.'
            when 'bounced' then 'Text messages do not arrive: stays as it is.'
            else coalesce(rules.sentence, 'No rule matches: nothing is done.')
        end as sentence,
        given.source as given_in,
        given.record as given_by
    from sms_facts as facts
    left join sms_rules as rules
        on
            facts.phase = rules.phase
            and facts.shop_status = rules.shop
            and facts.shop_moved = rules.shop_moved
            and facts.shop_carried = rules.shop_carried
            and facts.esp_status = rules.esp
            and facts.esp_moved = rules.esp_moved
            and facts.time_order = rules.time_order
            and facts.chosen = rules.chosen
    left join scoped_events as given on facts.shop_event = given.event_id
),

told as (
    select
        judged.*,
        coalesce(
            (contact.status <> 'deleted' and mail.esp_write is distinct from 'archive')
            or mail.esp_write in ('create', 'status'),
            false
        ) as has_contact
    from judged
    left join sms_accounts as giver
        on
            judged.address = giver.address
            and judged.given_in = giver.shop
            and judged.given_by = giver.record
    left join scoped_contacts as contact on giver.holder = contact.address
    left join decisions as mail on giver.holder = mail.address
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
    'keep' as set_shop,
    rule,
    sentence,
    cast(null as varchar) as exception,
    case when (set_esp = 'subscribed' and has_contact) or set_esp = 'unsubscribed' then 'sms' end as esp_write,
    cast(null as varchar) as shop_write,
    case when set_esp = 'subscribed' and not has_contact then 'no contact at the ESP that could hold the number' end as skipped,
    shop_event,
    coalesce(suppression_event, esp_event) as esp_event,
    shop_root,
    esp_root
from told
