-- Whose an order is: one row per order. The account's address while the account exists, else the billing address (a guest).
select
    orders.shop,
    orders.order_id,
    coalesce(account.address, orders.address) as address,
    orders.customer_id is null or account.customer_id is null as is_guest,
    not orders.is_test
    and orders.state in ('pending', 'paid', 'partially_refunded', 'refunded', 'cancelled') as is_purchase
from scoped_orders as orders
left join shop.customers as account
    on orders.shop = account.shop and orders.customer_id = account.customer_id and account.deleted_at is null
