-- Keys that sign access tokens. The private half is sealed under auth.master_key.
-- `activates_at` null: published, not yet signing. `expires_at` set: its successor signs, and
-- tokens it signed are honoured until then.
create table signing_keys (
    kid          text        not null,
    algorithm    text        not null,
    public_key   bytea       not null,
    private_key  bytea       not null,
    created_at   timestamptz not null default now(),
    activates_at timestamptz,
    expires_at   timestamptz,
    constraint signing_keys_pkey primary key (kid),
    constraint signing_keys_algorithm_known check (algorithm in ('EdDSA'))
);

-- At most one key waits for its turn.
create unique index signing_keys_next_key on signing_keys ((true)) where activates_at is null;
