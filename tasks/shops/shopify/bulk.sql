-- The objects of a bulk operation's file: one row per object, in the order of the file within each root.
-- A line that stands there twice counts once, its first place holds. Children follow their root, but not directly.
-- root is null for a child without a root: part of the file is missing.
with

lines as materialized (
    select
        json,
        row_number() over () as line,
        json ->> '$.id' as id,
        json ->> '$.__parentId' as parent_id
    from read_ndjson_objects(getvariable('file'), ignore_errors = true)
),

places as (
    select
        id,
        parent_id,
        min(line) as line
    from lines
    where id is not null
    group by id, parent_id
),

roots as (
    select
        id,
        line
    from places
    where parent_id is null
)

select
    case when places.parent_id is null then places.line else roots.line end as root,
    places.parent_id is not null as is_child,
    places.line,
    lines.json::varchar as json
from places
inner join lines on places.line = lines.line
left join roots on places.parent_id = roots.id
