-- Background work. `state` is what is stored; what a waiting job is called (scheduled, ready, failed) follows from
-- `run_at` and `attempts`, so that time passing needs no update.

-- A process that runs jobs. It raises `beats`; one whose beats stand still is given up by the others and its jobs
-- run elsewhere. No clock is compared, so a clock that is set takes no job away from anybody.
create table job_workers (
    id         uuid        not null,
    beats      bigint      not null default 0,
    queues     text[]      not null,
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    constraint job_workers_pkey primary key (id)
);

create table jobs (
    id               uuid        not null,
    queue            text        not null,
    kind             text        not null,
    payload          jsonb       not null,
    state            text        not null default 'pending',
    priority         smallint    not null,
    run_at           timestamptz not null,
    -- Attempts that ran to an end of their own, the present one included.
    attempts         integer     not null default 0,
    max_attempts     integer     not null,
    -- Attempts that ended with their worker.
    crashes          smallint    not null default 0,
    -- At most one live job of a kind has a key.
    unique_key       text,
    worker_id        uuid,
    -- Raised by every claim: who claimed earlier cannot finish the job any more.
    fence            bigint      not null default 0,
    cancel_requested boolean     not null default false,
    progress         jsonb,
    result           jsonb,
    last_error       text,
    -- What happened beside the plain way: failures, lost workers, what administrators did.
    history          jsonb       not null default '[]',
    request_id       text        not null,
    traceparent      text,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    constraint jobs_pkey primary key (id),
    constraint jobs_state_known check (state in ('pending', 'running', 'succeeded', 'dead')),
    constraint jobs_running_has_worker check ((state = 'running') = (worker_id is not null)),
    constraint jobs_finished_has_time check ((state in ('succeeded', 'dead')) = (finished_at is not null))
) with (
    -- Every job is updated twice and deleted once: vacuum early, or claims wade through dead rows.
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);

-- The claim: one kind, one priority, what is due first.
create index jobs_due_idx on jobs (kind, priority, run_at, id) where state = 'pending' and crashes < 2;
-- Those that have cost workers their lives twice are claimed apart, one at a time.
create index jobs_suspect_idx on jobs (queue, run_at, id) where state = 'pending' and crashes >= 2;
create index jobs_running_idx on jobs (kind, worker_id) where state = 'running';
create unique index jobs_unique_live_idx on jobs (kind, unique_key)
    where unique_key is not null and state in ('pending', 'running');
-- The administrator's lists of what went wrong, and the reaper.
create index jobs_failing_idx on jobs (id) where state = 'pending' and attempts > 0;
create index jobs_dead_idx on jobs (id) where state = 'dead';
create index jobs_finished_idx on jobs (state, finished_at) where finished_at is not null;

-- Queues that somebody has paused; the others have no row.
create table job_queues (
    name      text        not null,
    paused_at timestamptz not null default now(),
    paused_by uuid,
    constraint job_queues_pkey primary key (name)
);

-- What runs by the clock. `next_at` only ever rises, so a clock that steps back fires nothing twice.
create table job_schedules (
    name       text        not null,
    kind       text        not null,
    cron       text        not null,
    next_at    timestamptz not null,
    last_at    timestamptz,
    last_job   uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint job_schedules_pkey primary key (name)
);

-- One more line of a job's history, of which the last fifty are kept.
create function job_history(history jsonb, event text, attempt integer, detail text) returns jsonb
language sql stable as $$
    select case when jsonb_array_length(history) >= 50 then history - 0 else history end
        || jsonb_strip_nulls(jsonb_build_object(
            'at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'event', event, 'attempt', attempt, 'detail', detail))
$$;
