-- Failed logins, counted per account and per network whether or not the account exists.
-- A bucket is a keyed hash: the table tells neither addresses of people nor of machines.
create table login_failures (
    bucket         bytea       not null,
    failures       integer     not null,
    last_failed_at timestamptz not null,
    blocked_until  timestamptz not null,
    constraint login_failures_pkey primary key (bucket),
    constraint login_failures_bucket_length check (octet_length(bucket) = 32)
);

create index login_failures_reap_idx on login_failures (last_failed_at);
