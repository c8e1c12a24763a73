-- Who may do what in the database of the service. Run it as a superuser, in that database, after every
-- `mainstay migrate up`; it may be run again and again:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql "$ADMIN_URL"
--
-- The roles cannot sign in until they have a password: `alter role mainstay_app password '...'`.
--
--     mainstay_migrator  owns the schema: DATABASE_MIGRATION_URL of `mainstay migrate up`
--     mainstay_app       reads and writes rows: DATABASE_URL of `mainstay serve`
--     mainstay_readonly  reports and metrics; sees neither hashes, nor keys, nor addresses of people
--
-- A table that a migration adds has to be listed below; tests/deploy.rs says so.

do $$
declare
    role text;
begin
    foreach role in array array['mainstay_migrator', 'mainstay_app', 'mainstay_readonly'] loop
        if not exists (select from pg_roles where rolname = role) then
            execute format('create role %I login', role);
        end if;
        execute format('grant connect on database %I to %I', current_database(), role);
    end loop;
    execute format('revoke all on database %I from public', current_database());
    -- Extensions that are marked as trusted, such as pg_trgm.
    execute format('grant create on database %I to mainstay_migrator', current_database());
    -- A batch of an import is merged out of a temporary table.
    execute format('grant temporary on database %I to mainstay_app', current_database());
end;
$$;

-- The schema and everything in it is the migrator's.
alter schema public owner to mainstay_migrator;
revoke all on schema public from public;
grant usage on schema public to mainstay_app, mainstay_readonly;

do $$
declare
    it record;
begin
    for it in select tablename from pg_tables where schemaname = 'public' loop
        execute format('alter table public.%I owner to mainstay_migrator', it.tablename);
        execute format('revoke all on public.%I from public, mainstay_app, mainstay_readonly', it.tablename);
    end loop;
    for it in
        select oid::regprocedure as name from pg_proc
        where pronamespace = 'public'::regnamespace
          and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
    loop
        execute format('alter routine %s owner to mainstay_migrator', it.name);
    end loop;
end;
$$;

-- The service.
grant select on _sqlx_migrations to mainstay_app;
grant select, insert, update on users to mainstay_app;
grant select, insert, update, delete on sessions to mainstay_app;
grant select, insert, update, delete on refresh_tokens to mainstay_app;
grant select, insert, update, delete on known_devices to mainstay_app;
grant select, insert, update, delete on login_failures to mainstay_app;
grant select, insert, update, delete on signing_keys to mainstay_app;
-- What was done stays written down, whoever takes the service over.
grant select, insert on audit_events to mainstay_app;
grant select, insert, delete on change_feed to mainstay_app;
grant select, insert, update, delete on jobs to mainstay_app;
grant select, insert, update, delete on job_workers to mainstay_app;
grant select, insert, delete on job_queues to mainstay_app;
grant select, insert, update on job_schedules to mainstay_app;
grant select, insert, update, delete on mail_tokens to mainstay_app;
grant select, insert, update, delete on idempotency_keys to mainstay_app;
grant select, insert, update on outbox_sequences to mainstay_app;
grant select, insert, update, delete on outbox_events to mainstay_app;
grant select, insert, update, delete on outbox_deliveries to mainstay_app;
grant select, insert, update, delete on outbox_lease to mainstay_app;
grant select, insert on categories to mainstay_app;
grant select, insert, update on products to mainstay_app;
grant select, insert, update, delete on search_words to mainstay_app;
-- A ledger is written forward.
grant select, insert on stock_movements to mainstay_app;
grant select, insert, update, delete on imports to mainstay_app;
grant select, insert, delete on import_chunks to mainstay_app;
grant select, insert, delete on import_rejects to mainstay_app;

-- Reports and metrics.
grant pg_read_all_stats to mainstay_readonly;
grant select on _sqlx_migrations, change_feed, categories, products, stock_movements to mainstay_readonly;
grant select (id, role, email_verified, version, disabled_at, deleted_at, created_at, updated_at)
    on users to mainstay_readonly;
grant select (id, user_id, remember, generation, created_at, last_used_at, expires_at, ended_at, end_reason)
    on sessions to mainstay_readonly;
grant select (session_id, generation, created_at, used_at) on refresh_tokens to mainstay_readonly;
grant select (user_id, failures, created_at, last_used_at, expires_at) on known_devices to mainstay_readonly;
grant select (failures, last_failed_at, blocked_until) on login_failures to mainstay_readonly;
grant select (id, queue, kind, state, priority, run_at, attempts, max_attempts, crashes, worker_id, created_at,
              updated_at, started_at, finished_at) on jobs to mainstay_readonly;
grant select on job_workers, job_queues, job_schedules to mainstay_readonly;
grant select (id, user_id, state, mode, dry_run, sets_stock, bytes_total, bytes_done, rows_read, rows_upserted,
              rows_rejected, error_code, created_at, updated_at, finished_at) on imports to mainstay_readonly;
grant select (kid, algorithm, created_at, activates_at, expires_at) on signing_keys to mainstay_readonly;
grant select (id, at, actor_id, action, target_type, target_id) on audit_events to mainstay_readonly;
