-- no-transaction
-- Products with runs get their words anew, a bite at a time: nobody waits long for a row of it, and
-- it waits for nobody with rows in its hands. Until its turn comes such a product is found by its
-- other words only. Begun again it goes on.
do $$
declare
    place uuid := '00000000-0000-0000-0000-000000000000';
    started boolean := false;
begin
    while place is not null loop
        begin
            perform set_config('lock_timeout', '300ms', true);
            if not started then
                -- Until those have ended who write by the functions of before.
                lock table products in share mode;
                started := true;
            else
                with bite as (
                    select id from products where id > place order by id limit 100
                ), written as (
                    -- Writing a column of its expression makes Postgres compute `search`.
                    update products set description = description
                    from bite
                    where products.id = bite.id
                      and search_is_run(sku || name || description || attributes::text)
                      and search <> search_vector(sku, name, description, attributes)
                )
                select (array_agg(id order by id desc))[1] into place from bite;
            end if;
        exception when lock_not_available or deadlock_detected then
            perform pg_sleep(0.1);
        end;
        commit;
    end loop;
end
$$;
