-- What a client has sent under a key, and what it was answered. The row is claimed, the work done
-- and the outcome stored in one transaction, so nobody ever sees one without an outcome.
create table idempotency_keys (
    user_id     uuid        not null,
    key         text        collate "C" not null,
    -- SHA-256 of what was asked for.
    fingerprint bytea       not null,
    status      integer,
    -- Pairs of name and value.
    headers     jsonb,
    body        bytea,
    expires_at  timestamptz not null,
    constraint idempotency_keys_pkey primary key (user_id, key),
    constraint idempotency_keys_key_length check (char_length(key) between 1 and 255),
    constraint idempotency_keys_fingerprint_length check (octet_length(fingerprint) = 32),
    constraint idempotency_keys_outcome_whole check (num_nulls(status, headers, body) in (0, 3))
);

create index idempotency_keys_reap_idx on idempotency_keys (expires_at);
