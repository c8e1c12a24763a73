-- The catalogue: a tree of categories, products in it, and the ledger of their stock.

-- `path` is the whole way from the root: slugs between slashes. A category is made on first use.
create table categories (
    id         uuid        not null,
    path       text        not null collate "C",
    parent_id  uuid,
    created_at timestamptz not null default now(),
    constraint categories_pkey primary key (id),
    constraint categories_path_key unique (path),
    constraint categories_parent_fkey foreign key (parent_id) references categories (id),
    constraint categories_path_form check (
        path ~ '^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*$' and char_length(path) <= 255
    ),
    constraint categories_root_has_no_parent check ((parent_id is null) = (position('/' in path) = 0))
);

create index categories_parent_idx on categories (parent_id);

create table products (
    id            uuid        not null,
    sku           text        not null collate "C",
    -- Sorted as people do, whatever the locale of the server.
    name          text        not null collate "und-x-icu",
    description   text        not null default '',
    category_id   uuid        not null,
    -- In minor units of the currency.
    price         bigint      not null,
    currency      text        not null,
    attributes    jsonb       not null default '{}',
    -- What can be sold: neither held nor sold. Both will be columns beside it, of orders.
    stock         bigint      not null,
    -- Indexed in the place of `stock`, so that most movements change no index.
    in_stock      boolean     not null generated always as (stock > 0) stored,
    -- Raised by every change but those of stock: what If-Match compares. Neither ever falls.
    version       bigint      not null default 1,
    stock_version bigint      not null default 1,
    archived_at   timestamptz,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint products_pkey primary key (id),
    -- Archived ones keep theirs: a code never comes to mean something else.
    constraint products_sku_key unique (sku),
    constraint products_category_fkey foreign key (category_id) references categories (id),
    constraint products_sku_length check (char_length(sku) between 1 and 64),
    constraint products_name_length check (char_length(name) between 1 and 200),
    constraint products_description_length check (char_length(description) <= 10000),
    constraint products_price_range check (price between 0 and 1000000000000),
    constraint products_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint products_stock_never_below_zero check (stock >= 0),
    constraint products_stock_bounded check (stock <= 1000000000000),
    constraint products_attributes_object check (jsonb_typeof(attributes) = 'object')
)
-- Room for movements of stock, which change no index; and vacuumed early, so that lists can be
-- read from indexes alone.
with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

-- Each way to sort, for the whole catalogue by whether there is stock, and per category. A list is
-- merged from the heads of a few of their branches. What is filtered by beside stands in the index
-- too, so that even a filter that fits nothing reads no more than one index.
create index products_newest_idx on products (in_stock, created_at, id) include (price)
    where archived_at is null;
create index products_price_idx on products (in_stock, price, id) where archived_at is null;
create index products_name_idx on products (in_stock, name, id) include (price)
    where archived_at is null;
create index products_category_newest_idx on products (category_id, created_at, id)
    include (in_stock, price) where archived_at is null;
create index products_category_price_idx on products (category_id, price, id)
    include (in_stock) where archived_at is null;
create index products_category_name_idx on products (category_id, name, id)
    include (in_stock, price) where archived_at is null;

-- Every movement of stock, for ever. The sum of a product's movements is what it has: stock, and
-- what orders hold or have sold.
create table stock_movements (
    id         uuid        not null,
    product_id uuid        not null,
    delta      bigint      not null,
    kind       text        not null,
    reason     text        not null,
    actor_id   uuid,
    at         timestamptz not null default now(),
    constraint stock_movements_pkey primary key (id),
    constraint stock_movements_product_fkey foreign key (product_id) references products (id),
    constraint stock_movements_moves_something check (delta <> 0),
    constraint stock_movements_kind_known check (kind in ('initial', 'adjustment', 'import'))
);

create index stock_movements_product_idx on stock_movements (product_id, at);
