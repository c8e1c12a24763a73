-- no-transaction
-- Products with runs get their words anew, a bite at a time, so that nobody waits long for a row.
-- Until its turn comes such a product is found by its other words only. Begun again it goes on.
do $$
declare
    place uuid := '00000000-0000-0000-0000-000000000000';
begin
    loop
        with bite as (
            select id from products where id > place order by id limit 500
        ), written as (
            -- Writing a column of its expression makes Postgres compute `search`.
            update products set description = description
            from bite
            where products.id = bite.id
              and search_is_run(sku || name || description || attributes::text)
              and search <> search_vector(sku, name, description, attributes)
        )
        select (array_agg(id order by id desc))[1] into place from bite;
        exit when place is null;
        commit;
    end loop;
end
$$;
