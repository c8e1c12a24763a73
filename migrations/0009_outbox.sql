-- What happened, written by the transactions it happened in, and who is to be told of it.
-- Each delivery has a done mark of its own: positions are taken in order but may become visible
-- out of order, so a relay that remembered only the highest would lose the late ones.

-- The last sequence of an aggregate. Events are reaped, the count goes on; two transactions that
-- emit for one aggregate follow one another here.
create table outbox_sequences (
    aggregate_kind text   not null,
    aggregate_id   uuid   not null,
    last           bigint not null,
    constraint outbox_sequences_pkey primary key (aggregate_kind, aggregate_id)
);

create table outbox_events (
    id             uuid        not null,
    position       bigint      generated always as identity,
    at             timestamptz not null default clock_timestamp(),
    type           text        not null,
    version        integer     not null,
    aggregate_kind text        not null,
    aggregate_id   uuid        not null,
    sequence       bigint      not null,
    actor_id       uuid,
    request_id     text        not null,
    traceparent    text,
    payload        jsonb       not null,
    constraint outbox_events_pkey primary key (id),
    constraint outbox_events_sequence_key unique (aggregate_kind, aggregate_id, sequence)
);

create index outbox_events_reap_idx on outbox_events (at);

create table outbox_deliveries (
    id             uuid        not null,
    event_id       uuid        not null,
    consumer       text        not null,
    -- As the event has them.
    position       bigint      not null,
    aggregate_kind text        not null,
    aggregate_id   uuid        not null,
    sequence       bigint      not null,
    state          text        not null default 'pending',
    attempts       integer     not null default 0,
    next_at        timestamptz not null default clock_timestamp(),
    last_error     text,
    created_at     timestamptz not null default clock_timestamp(),
    updated_at     timestamptz not null default clock_timestamp(),
    constraint outbox_deliveries_pkey primary key (id),
    constraint outbox_deliveries_once unique (event_id, consumer),
    constraint outbox_deliveries_event_fkey foreign key (event_id) references outbox_events (id) on delete cascade,
    constraint outbox_deliveries_state_known check (state in ('pending', 'done', 'dead'))
);

-- What is due, and what comes before it.
create index outbox_deliveries_due_idx on outbox_deliveries (consumer, next_at, position) where state = 'pending';
create index outbox_deliveries_order_idx on outbox_deliveries (consumer, aggregate_kind, aggregate_id, sequence)
    where state <> 'done';
-- The administrator's list, and the oldest that waits.
create index outbox_deliveries_created_idx on outbox_deliveries (created_at desc, id desc);
create index outbox_deliveries_open_idx on outbox_deliveries (state, created_at desc, id desc) where state <> 'done';

-- One relay over all instances. The token rises with every holder: what an earlier one still
-- wants to write is refused.
create table outbox_lease (
    single     boolean     not null default true,
    holder     text        not null default '',
    token      bigint      not null default 0,
    expires_at timestamptz not null default '-infinity',
    constraint outbox_lease_pkey primary key (single),
    constraint outbox_lease_single check (single)
);

insert into outbox_lease default values;
