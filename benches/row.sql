select id, email, name, role, email_verified, disabled_at is not null as disabled, version, authz_version, created_at, updated_at from users where id = :user_id and deleted_at is null;
