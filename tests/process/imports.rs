//! Workers that are killed while they read a file: the next one goes on, and the tables become
//! what they become when nobody dies.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use mainstay::shared::crypto;

use crate::support::{Database, Instance, Settings, command};

const HEAD: &str = "sku,name,description,category,price,currency,stock\r\n";
const LIMIT: Duration = Duration::from_secs(300);

/// New products, known ones, some twice and, unless all are wanted, some bad.
fn file(rows: usize, mode: &str) -> String {
    let mut text = HEAD.to_owned();
    for n in 0..rows {
        let sku = if n % 997 == 0 { n / 2 } else { n };
        match n % 1_009 {
            7 if mode == "partial" => text.push_str("bad,row\r\n"),
            _ => writeln!(text, "S{sku},\"Größe, {n}\",包丁,a/b-{},{n},EUR,{}\r", n % 9, n % 4)
                .unwrap(),
        }
    }
    text
}

/// A database in which some products are known, and a file of them waits for a worker.
async fn stage(rows: usize, mode: &str) -> (Database, Settings) {
    let database = Database::create().await;
    let settings = Settings::new(&database.url)
        .set("APP__JOBS__LEASE", "1s")
        .set("APP__SERVER__DRAIN_DELAY", "0s")
        .set("APP__DATABASE__MIGRATE_ON_START", "false");
    command::run(&settings, &["migrate", "up"]).expect("migrate up");
    database.execute("insert into categories (id, path) values (gen_random_uuid(), 'old')").await;
    let known = rows / 3;
    database
        .execute(&format!(
            "with made as (
                 insert into products (id, sku, name, category_id, price, currency, stock)
                 select gen_random_uuid(), 'S' || n, 'Old', (select id from categories), 1, 'EUR', n % 3
                 from generate_series(1, {known}) n returning id, stock)
             insert into stock_movements (id, product_id, delta, kind, reason)
             select gen_random_uuid(), id, stock, 'initial', 'x' from made where stock > 0"
        ))
        .await;
    let (text, mut conn) = (file(rows, mode), database.connect().await);
    let import = "insert into imports (id, user_id, state, mode, dry_run, sets_stock, columns, bytes_total,
                      bytes_done, next_line, rows_at, rows_line, job_id)
                  values ('00000000-0000-7000-8000-000000000001', gen_random_uuid(), 'queued', $1, false, true,
                      string_to_array($2, ','), $3, $4, 2, $4, 2, '00000000-0000-7000-8000-000000000002')";
    let (all, head) = (text.len() as i64, HEAD.len() as i64);
    let import = sqlx::query(import).bind(mode).bind(HEAD.trim_end()).bind(all).bind(head);
    import.execute(&mut conn).await.unwrap();
    let size = 256 * 1024;
    for (n, piece) in text.as_bytes().chunks(size).enumerate() {
        let chunk =
            "insert into import_chunks values ('00000000-0000-7000-8000-000000000001', $1, $2)";
        let chunk = sqlx::query(chunk).bind((n * size) as i64).bind(piece);
        chunk.execute(&mut conn).await.unwrap();
    }
    let job = "insert into jobs (id, queue, kind, payload, priority, run_at, max_attempts, request_id)
               values ('00000000-0000-7000-8000-000000000002', 'bulk', 'import_products',
                       '{\"import\": \"00000000-0000-7000-8000-000000000001\"}', 2, now(), 30, 'test')";
    sqlx::query(job).execute(&mut conn).await.unwrap();
    (database, settings)
}

async fn rows_read(database: &Database) -> i64 {
    database.number("select rows_read from imports").await
}

async fn is_over(database: &Database) -> bool {
    database.number("select count(*) from imports where finished_at is not null").await == 1
}

/// All that an import writes, without ids and times.
async fn outcome(database: &Database) -> String {
    let books = "select count(*) from products p where stock <>
        coalesce((select sum(delta) from stock_movements where product_id = p.id), 0)";
    assert_eq!(database.number(books).await, 0, "movements that do not add up");
    database
        .text(
            "select concat_ws(' ',
                 (select concat_ws(' ', state, bytes_done, rows_read, rows_upserted, rows_rejected) from imports),
                 (select concat(count(*), md5(string_agg(concat_ws('|', sku, name, description, c.path, price,
                         currency, attributes, stock, version, stock_version), ',' order by sku)))
                  from products p join categories c on c.id = p.category_id),
                 (select concat(count(*), md5(string_agg(concat_ws('|', sku, kind, delta), ',' order by sku, kind, delta)))
                  from stock_movements m join products p on p.id = m.product_id),
                 (select concat(count(*), md5(string_agg(concat_ws('|', line, reason, original), ',' order by line)))
                  from import_rejects),
                 (select count(*) from outbox_events where type = 'import.finished'),
                 (select count(*) from audit_events where action = 'import.finished'),
                 (select state from jobs where kind = 'import_products'))",
        )
        .await
}

/// How long it takes, and what comes of it, when nobody dies.
async fn undisturbed(rows: usize, mode: &str) -> (Duration, String) {
    let (database, settings) = stage(rows, mode).await;
    let started = Instant::now();
    let _worker = Instance::worker(&settings).await;
    while !is_over(&database).await {
        assert!(started.elapsed() < LIMIT, "it takes too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (started.elapsed(), outcome(&database).await)
}

async fn deaths_change_nothing(rows: usize, mode: &str, kills: usize) {
    let seed: [u8; 8] = crypto::random();
    let mut seed = u64::from_le_bytes(seed);
    eprintln!("seed {seed}");
    let (whole, expected) = undisturbed(rows, mode).await;
    let (database, settings) = stage(rows, mode).await;
    let (started, mut killed, mut steps) = (Instant::now(), 0, Vec::new());
    while !is_over(&database).await {
        assert!(started.elapsed() < LIMIT, "it takes too long");
        let mut worker = Instance::worker(&settings).await;
        if killed == kills {
            while !is_over(&database).await {
                assert!(started.elapsed() < LIMIT, "it takes too long");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            break;
        }
        let runs = "select count(*) from jobs where kind = 'import_products' and state = 'running'";
        while database.number(runs).await == 0 && !is_over(&database).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A splitmix step: any moment of what one part of the whole takes.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = (seed ^ (seed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40;
        let share = whole.mul_f64(2.0 / (kills as f64 + 1.0));
        tokio::time::sleep(share.mul_f64(drawn as f64 / (1 << 24) as f64)).await;
        // A third death at one place is one too many for any job.
        let mut read = rows_read(&database).await;
        while steps.ends_with(&[read, read]) && !is_over(&database).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
            read = rows_read(&database).await;
        }
        worker.signal("KILL");
        worker.exit().await;
        killed += 1;
        steps.push(rows_read(&database).await);
    }
    eprintln!("{mode}: {killed} workers killed at rows {steps:?}, {:?} in all", started.elapsed());
    assert_eq!(outcome(&database).await, expected);
    assert!(expected.starts_with("succeeded"), "{expected}");
}

#[tokio::test]
async fn workers_that_die_while_they_read_a_file_change_nothing_in_the_end() {
    deaths_change_nothing(40_000, "partial", 4).await;
}

#[tokio::test]
async fn workers_that_die_while_they_take_a_file_as_a_whole_change_nothing_in_the_end() {
    // Nothing of it is stored before all is: more deaths than these, and its job is given up.
    deaths_change_nothing(20_000, "atomic", 2).await;
}

#[tokio::test]
#[ignore = "full size: make faults"]
async fn workers_that_die_at_twenty_points_change_nothing_in_the_end() {
    deaths_change_nothing(200_000, "partial", 20).await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_gives_the_file_back_and_the_next_goes_on() {
    let (database, settings) = stage(40_000, "partial").await;
    let mut worker = Instance::worker(&settings).await;
    let started = Instant::now();
    while rows_read(&database).await == 0 {
        assert!(started.elapsed() < LIMIT, "it takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.signal("TERM");
    assert!(worker.exit().await.success());
    let read = rows_read(&database).await;
    let row = "select count(*) from jobs where state = 'pending' and crashes = 0 and attempts = 0";
    if !is_over(&database).await {
        assert_eq!(database.number(row).await, 1, "given back, uncounted");
        assert!(read < 40_000);
    }
    let _next = Instance::worker(&settings).await;
    while !is_over(&database).await {
        assert!(started.elapsed() < LIMIT, "it takes too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rows_read(&database).await, 40_000);
}
