-- Accounts. `email` is as typed (where mail goes), `email_key` the canonical form that is unique;
-- a deleted user keeps the row and the id, but neither address nor password.
create table users (
    id              uuid        not null,
    email           text,
    email_key       text,
    name            text        not null,
    role            text        not null,
    email_verified  boolean     not null default false,
    password_hash   text,
    -- Raised when rights change: access tokens with a smaller one are refused.
    authz_version   bigint      not null default 1,
    -- Raised by every change: the entity tag.
    version         bigint      not null default 1,
    disabled_at     timestamptz,
    deleted_at      timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint users_pkey primary key (id),
    constraint users_email_key unique (email_key),
    constraint users_role_known check (role in ('customer', 'staff', 'admin')),
    constraint users_name_length check (char_length(name) between 1 and 100),
    constraint users_deleted_is_anonymous check (
        (deleted_at is null) = (email is not null and email_key is not null)
    )
);

-- The administrator's list, newest first, and the check for the last administrator.
create index users_created_idx on users (created_at desc, id desc) where deleted_at is null;
create index users_admins_idx on users (id) where role = 'admin' and deleted_at is null and disabled_at is null;
