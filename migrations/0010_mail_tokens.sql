-- Links in mails. One row per account and purpose: a newer link takes the place of the older one,
-- and using it deletes the row. Only a hash is stored; the secret is derived from the salt when the
-- mail is rendered (see services/auth/mail_tokens).
create table mail_tokens (
    id            uuid        not null,
    user_id       uuid        not null,
    purpose       text        not null,
    token_hash    bytea       not null,
    salt          bytea       not null,
    -- The address that becomes the account's, as typed and as key.
    new_email     text,
    new_email_key text,
    created_at    timestamptz not null default now(),
    expires_at    timestamptz not null,
    -- Links issued since `window_start`: a mailbox is not flooded.
    issues        integer     not null default 1,
    window_start  timestamptz not null default now(),
    constraint mail_tokens_pkey primary key (user_id, purpose),
    constraint mail_tokens_id_key unique (id),
    constraint mail_tokens_user_fkey foreign key (user_id) references users (id) on delete cascade,
    constraint mail_tokens_purpose_known check (purpose in ('verify_email', 'reset_password', 'change_email')),
    constraint mail_tokens_hash_length check (octet_length(token_hash) = 32),
    constraint mail_tokens_salt_length check (octet_length(salt) = 32),
    constraint mail_tokens_new_address check (
        (purpose = 'change_email') = (new_email is not null)
        and (new_email is null) = (new_email_key is null)
    )
);

create index mail_tokens_reap_idx on mail_tokens (expires_at);
