-- A session is one login on one device. Its refresh tokens form a line of generations, of which
-- only hashes are stored; the successor of a token is derived from its row's salt (see
-- services/auth/refresh), so that asking twice gives the same one.
create table sessions (
    id                  uuid        not null,
    user_id             uuid        not null,
    remember            boolean     not null,
    generation          integer     not null default 0,
    device_name         text,
    user_agent          text,
    address             inet,
    created_at          timestamptz not null default now(),
    last_used_at        timestamptz not null default now(),
    expires_at          timestamptz not null,
    absolute_expires_at timestamptz not null,
    ended_at            timestamptz,
    end_reason          text,
    constraint sessions_pkey primary key (id),
    constraint sessions_user_fkey foreign key (user_id) references users (id),
    constraint sessions_end_has_reason check ((ended_at is null) = (end_reason is null))
);

create index sessions_live_idx on sessions (user_id, created_at desc, id desc) where ended_at is null;
create index sessions_reap_idx on sessions (absolute_expires_at);

create table refresh_tokens (
    session_id uuid        not null,
    generation integer     not null,
    token_hash bytea       not null,
    salt       bytea       not null,
    created_at timestamptz not null default now(),
    used_at    timestamptz,
    constraint refresh_tokens_pkey primary key (session_id, generation),
    constraint refresh_tokens_hash_key unique (token_hash),
    constraint refresh_tokens_session_fkey foreign key (session_id) references sessions (id) on delete cascade,
    constraint refresh_tokens_hash_length check (octet_length(token_hash) = 32),
    constraint refresh_tokens_salt_length check (octet_length(salt) = 32)
);

-- Devices on which a user has signed in before: failed logins elsewhere never lock them out.
create table known_devices (
    token_hash   bytea       not null,
    user_id      uuid        not null,
    -- Failures on this device since its last success; too many and it counts as unknown.
    failures     integer     not null default 0,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    expires_at   timestamptz not null,
    constraint known_devices_pkey primary key (token_hash, user_id),
    constraint known_devices_user_fkey foreign key (user_id) references users (id) on delete cascade
);

create index known_devices_user_idx on known_devices (user_id);
create index known_devices_reap_idx on known_devices (expires_at);
