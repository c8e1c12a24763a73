-- Every delivery is updated once and deleted once: vacuum early, or the relay wades through dead
-- entries of its index, as many as a fifth of what is kept for a week.
alter table outbox_deliveries set (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
alter table outbox_events set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
alter table idempotency_keys set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
