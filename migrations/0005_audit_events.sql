-- Who did what to whom, from where. Append-only: a trigger refuses everything but inserts.
create table audit_events (
    id          uuid        not null,
    at          timestamptz not null default clock_timestamp(),
    actor_id    uuid,
    action      text        not null,
    target_type text        not null,
    target_id   uuid,
    address     inet,
    user_agent  text,
    request_id  text        not null,
    details     jsonb       not null default '{}',
    constraint audit_events_pkey primary key (id)
);

create index audit_events_at_idx on audit_events (at desc, id desc);
create index audit_events_actor_idx on audit_events (actor_id, at desc, id desc);
create index audit_events_target_idx on audit_events (target_id, at desc, id desc);
create index audit_events_action_idx on audit_events (action, at desc, id desc);

create function audit_events_are_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'audit_events is append-only' using errcode = 'restrict_violation';
end;
$$;

create trigger audit_events_no_change before update or delete on audit_events
    for each row execute function audit_events_are_append_only();
create trigger audit_events_no_truncate before truncate on audit_events
    for each statement execute function audit_events_are_append_only();
