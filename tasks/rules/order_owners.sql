-- Whose an order is: one row per order, with all that it says. The account's address while the account exists, else the billing
-- address (a guest). A view: a copy of millions of orders would not fit into memory.
select
    orders.* exclude (address),
    coalesce(account.address, orders.address) as address,
    orders.customer_id is null or account.customer_id is null as is_guest,
    not orders.is_test
    and orders.state in ('pending', 'paid', 'partially_refunded', 'refunded', 'cancelled') as is_purchase
from scoped_orders as orders
left join shop.customers as account
    on orders.shop = account.shop and orders.customer_id = account.customer_id and account.deleted_at is null
