-- Files of products on their way into the catalogue. A file is staged here while it is uploaded, because the
-- worker that reads it may be on another machine, and read in batches, each with a checkpoint.

create table imports (
    id              uuid        not null,
    user_id         uuid        not null,
    -- The resource remembers the key it was made under, and what was asked for.
    idempotency_key text        collate "C",
    fingerprint     bytea,
    state           text        not null default 'uploading',
    mode            text        not null,
    dry_run         boolean     not null,
    sets_stock      boolean     not null,
    -- In the order of the file, once its first line has been read.
    columns         text[],
    -- Of the text, as it is after decompression: what is staged, and how far it has been read.
    bytes_total     bigint      not null default 0,
    bytes_done      bigint      not null default 0,
    -- The line that begins at `bytes_done`.
    next_line       bigint      not null default 1,
    -- Where the rows begin.
    rows_at         bigint      not null default 0,
    rows_line       bigint      not null default 1,
    rows_read       bigint      not null default 0,
    rows_upserted   bigint      not null default 0,
    rows_rejected   bigint      not null default 0,
    error_code      text,
    error_detail    text,
    error_line      bigint,
    job_id          uuid,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    finished_at     timestamptz,
    constraint imports_pkey primary key (id),
    constraint imports_state_known check (state in ('uploading', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
    constraint imports_mode_known check (mode in ('partial', 'atomic')),
    constraint imports_key_whole check (num_nulls(idempotency_key, fingerprint) in (0, 2)),
    constraint imports_finished_has_time check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null))
);

create unique index imports_key_idx on imports (user_id, idempotency_key) where idempotency_key is not null;
-- What may have been given up, and what is old.
create index imports_live_idx on imports (updated_at) where finished_at is null;
create index imports_finished_idx on imports (finished_at) where finished_at is not null;

create table import_chunks (
    import_id uuid   not null,
    -- Where in the text it begins.
    at        bigint not null,
    data      bytea  not null,
    constraint import_chunks_pkey primary key (import_id, at),
    constraint import_chunks_import_fkey foreign key (import_id) references imports (id) on delete cascade
);

-- It is read once or twice and thrown away: compressing it would cost more than it saves.
alter table import_chunks alter column data set storage external;

create table import_rejects (
    import_id   uuid   not null,
    -- On which the row begins.
    line        bigint not null,
    -- Empty when it is the whole row.
    column_name text   not null,
    reason      text   not null,
    -- The beginning of it.
    original    text   not null,
    constraint import_rejects_pkey primary key (import_id, line),
    constraint import_rejects_import_fkey foreign key (import_id) references imports (id) on delete cascade
);
