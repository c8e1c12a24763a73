-- What became stale, written by the transaction that made it so and followed by every instance.
-- Ids are taken in order but may become visible out of order; shared/feed explains how that is met.
create table change_feed (
    id    bigint      generated always as identity,
    at    timestamptz not null default clock_timestamp(),
    kind  text        not null,
    key   uuid        not null,
    value bigint      not null default 0,
    constraint change_feed_pkey primary key (id)
);

create index change_feed_reap_idx on change_feed (at);
