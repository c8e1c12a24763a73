-- A narrow range of prices in another order is read from the index of prices alone, and sorted. With
-- what it is sorted by only in the rows, a walk along the other order looked cheaper: it reads an entry
-- per product up to the first that fits, which may be all of them.

drop index products_price_idx;
create index products_price_idx on products (in_stock, price, id) include (name, created_at)
    where archived_at is null;
