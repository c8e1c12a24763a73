//! What a later release makes of the rows of an earlier one.

use sqlx::migrate::Migrator;

use crate::support::{Database, Instance, Settings, command::run};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// As the release left it whose last migration this is.
async fn database_at(version: i64) -> Database {
    let database = Database::create().await;
    let known = MIGRATIONS.iter().filter(|one| one.version <= version).cloned().collect();
    let mut conn = database.connect().await;
    Migrator::with_migrations(known).run(&mut conn).await.unwrap();
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn products_of_before_are_found_by_parts_of_what_is_written_without_spaces() {
    let database = database_at(15).await;
    database
        .execute(
            "insert into categories (id, path) values (gen_random_uuid(), 'phones');
             insert into products (id, sku, name, category_id, price, currency, stock, attributes)
             select gen_random_uuid(), 'P-' || n,
                    case n % 3 when 0 then '智能手机壳' when 1 then 'Case' else 'Étui' end,
                    (select id from categories), n, 'EUR', 1,
                    case n % 3 when 1 then '{\"colour\": \"深空灰色\"}' else '{}' end::jsonb
             from generate_series(1, 1800) n",
        )
        .await;
    let settings = Settings::new(&database.url);
    for _ in 0..2 {
        run(&settings, &["migrate", "up"]).expect("migrate up");
    }
    let instance = Instance::ready(&settings).await;
    for (q, found) in [("手机", 600), ("空灰", 600), ("étui", 600), ("case", 600), ("壳", 600)]
    {
        let q: String = url::form_urlencoded::byte_serialize(q.as_bytes()).collect();
        let path = format!("/api/v1/products?limit=1&count=exact&q={q}");
        let list = instance.api.get(&path).await.expect(200).json();
        assert_eq!(list["total"], found, "{q}");
    }
    let stale = "select count(*) from products
                 where search <> search_vector(sku, name, description, attributes)";
    assert_eq!(database.number(stale).await, 0);
}

/// After the way back from it, and beside it while it is rolled out.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_later_release_is_served() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    run(&settings, &["migrate", "up"]).expect("migrate up");
    database
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'of a later release', true, '\\x00', 0)",
        )
        .await;
    run(&settings, &["migrate", "up"]).expect("migrate up");
    let instance = Instance::ready(&settings).await;
    instance.api.get("/api/v1/products").await.expect(200);
}
