-- Who would be decided otherwise under another policy: one row per side, status now, outcome under the policy of the connection
-- (`decisions_now`), outcome under the other (`decisions`), rule and exception. Outcomes are the status in the end: who is kept
-- as they are, and who is set to what they are, come out alike. Nobody is left out: the choice of groups counts in both.
with both_outcomes as (
    select
        now.address,
        unnest(['esp', 'shop']) as side,
        unnest([now.esp_status, now.shop_status]) as status,
        unnest([now.set_esp, now.set_shop]) as set_now,
        unnest([other.set_esp, other.set_shop]) as set_then,
        unnest([now.esp_write, now.shop_write]) as write_now,
        unnest([other.esp_write, other.shop_write]) as write_then,
        other.rule,
        other.sentence,
        other.exception
    from decisions_now as now
    inner join decisions as other on now.address = other.address and now.channel = other.channel
),

ends as (
    select
        *,
        if(set_now = 'keep' or write_now is null, status, set_now) as becomes_now,
        if(set_then = 'keep' or write_then is null, status, set_then) as becomes_then
    from both_outcomes
)

select
    side,
    status,
    becomes_now,
    becomes_then,
    rule,
    exception,
    min(sentence) as sentence,
    count(distinct address) as people
from ends
where becomes_now <> becomes_then
group by side, status, becomes_now, becomes_then, rule, exception
