//! What a file does to the tables.

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::{HEAD, id, rows, start};

#[tokio::test]
async fn a_file_makes_products_with_their_stock_and_the_same_again_changes_nothing() {
    let (app, staff) = start().await;
    let text = format!("{HEAD}{}", rows(0, 12_000));
    let import = app.imported(&staff, "", text.clone()).await;
    assert_eq!(import["state"], "succeeded", "{import}");
    assert_eq!((&import["rows_read"], &import["rows_upserted"]), (&json!(12_000), &json!(12_000)));
    assert_eq!((&import["rows_rejected"], &import["percent"]), (&json!(0), &json!(100)));
    assert_eq!(import["bytes_total"], json!(text.len()));
    assert_eq!(import["bytes_done"], json!(text.len()));
    assert_eq!(app.count("select count(*) from products where archived_at is null").await, 12_000);
    assert_eq!(app.count("select count(*) from categories").await, 8);
    app.assert_clean().await;
    let before = app.tables().await;
    let written = app.count("select count(*) from stock_movements").await;
    let again = app.imported(&staff, "?stock=set", text).await;
    assert_eq!((&again["state"], &again["rows_upserted"]), (&json!("succeeded"), &json!(12_000)));
    assert_eq!(app.tables().await, before);
    assert_eq!(app.count("select count(*) from stock_movements").await, written);
    let events = "select count(*) from outbox_events where type = 'import.finished'";
    let audit = "select count(*) from audit_events where action like 'import.%'";
    assert_eq!((app.count(events).await, app.count(audit).await), (2, 4));
}

#[tokio::test]
async fn a_known_product_is_changed_and_its_stock_only_when_asked() {
    let (app, staff) = start().await;
    app.imported(&staff, "", format!("{HEAD}S,Old,,a,1,EUR,5\nT,Same,,a,1,EUR,5\n")).await;
    let text = "stock,sku,currency,price,category,description,name,attributes\n\
                9,S,EUR,2,b/c,d,New,\"{\"\"x\"\": 1}\"\n7,T,EUR,1,a,,Same,\n";
    app.imported(&staff, "", text).await;
    let expected =
        ["S|New|d|b/c|2|EUR|{\"x\": 1}|5|2|1|initial5", "T|Same||a|1|EUR|{}|5|1|1|initial5"];
    assert_eq!(app.tables().await, expected);
    app.imported(&staff, "?stock=set", text).await;
    let expected = [
        "S|New|d|b/c|2|EUR|{\"x\": 1}|9|2|2|initial5,import4",
        "T|Same||a|1|EUR|{}|7|1|2|initial5,import2",
    ];
    assert_eq!(app.tables().await, expected);
    // A file without attributes says nothing of them.
    app.imported(&staff, "", format!("{HEAD}S,New,d,b/c,2,EUR,0\n")).await;
    assert_eq!(app.tables().await, expected);
    app.assert_clean().await;
}

#[tokio::test]
async fn of_rows_with_one_sku_the_last_counts_and_a_new_product_begins_with_the_first() {
    let (app, staff) = start().await;
    let text = format!("{HEAD}S,One,,a,1,EUR,5\nS,Two,,a,1,EUR,0\nS,Three,,a,1,EUR,8\n");
    let import = app.imported(&staff, "", text.clone()).await;
    assert_eq!((&import["rows_read"], &import["rows_upserted"]), (&json!(3), &json!(3)));
    assert_eq!(app.tables().await, ["S|Three||a|1|EUR|{}|5|1|1|initial5"]);
    app.imported(&staff, "?stock=set", text).await;
    assert_eq!(app.tables().await, ["S|Three||a|1|EUR|{}|8|1|2|initial5,import3"]);
    // The same, when the second row is in another batch.
    let far = format!("{HEAD}R,One,,a,1,EUR,5\n{}R,Two,,a,1,EUR,8\n", rows(0, 5_000));
    app.imported(&staff, "", far).await;
    let found = app.tables().await;
    assert!(found.contains(&"R|Two||a|1|EUR|{}|5|2|1|initial5".to_owned()), "{:?}", found.last());
    app.assert_clean().await;
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let (app, staff) = start().await;
    for mode in ["partial", "atomic"] {
        let text = format!("{HEAD}{}bad\n", rows(0, 10));
        let import = app.imported(&staff, &format!("?dry_run=true&mode={mode}"), text).await;
        assert_eq!((&import["rows_read"], &import["rows_rejected"]), (&json!(11), &json!(1)));
        assert_eq!(import["rows_upserted"], json!(10));
        assert_eq!(
            app.rejects(&staff, &import).await.body.iter().filter(|b| **b == b'\n').count(),
            2
        );
    }
    for table in [
        "select count(*) from products",
        "select count(*) from categories",
        "select count(*) from change_feed where kind = 'catalogue'",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn an_atomic_file_with_one_bad_row_changes_nothing_and_a_good_one_all() {
    let (app, staff) = start().await;
    app.imported(&staff, "", format!("{HEAD}A1,Before,,a,1,EUR,1\n")).await;
    let before = app.tables().await;
    let text = format!("{HEAD}{}bad\n", rows(0, 6_000));
    let import = app.imported(&staff, "?mode=atomic", text).await;
    assert_eq!((&import["state"], &import["rows_upserted"]), (&json!("failed"), &json!(0)));
    assert_eq!(import["error"]["code"], "rows_rejected");
    assert_eq!((&import["rows_read"], &import["rows_rejected"]), (&json!(6_001), &json!(1)));
    assert_eq!(app.tables().await, before);
    let import = app.imported(&staff, "?mode=atomic", format!("{HEAD}{}", rows(0, 6_000))).await;
    assert_eq!((&import["state"], &import["rows_upserted"]), (&json!("succeeded"), &json!(6_000)));
    assert_eq!(app.count("select count(*) from products").await, 6_000);
    app.assert_clean().await;
}

#[tokio::test]
async fn rows_of_archived_products_are_refused() {
    let (app, staff) = start().await;
    app.imported(&staff, "", format!("{HEAD}S,Old,,a,1,EUR,5\n")).await;
    app.execute("update products set archived_at = now()").await;
    let before = app.tables().await;
    let text = format!("{HEAD}A,New,,a,1,EUR,1\nS,New,,a,1,EUR,1\nS,Newer,,a,1,EUR,1\n");
    for (query, upserted) in [("?dry_run=true", 1), ("?mode=atomic", 0), ("?stock=set", 1)] {
        let import = app.imported(&staff, query, text.clone()).await;
        assert_eq!(import["rows_rejected"], json!(2), "{import}");
        assert_eq!(import["rows_upserted"], json!(upserted), "{import}");
        let rejects = String::from_utf8(app.rejects(&staff, &import).await.body).unwrap();
        assert!(rejects.contains("\r\n3,sku,belongs to an archived product,\"S,New,"), "{rejects}");
    }
    assert_eq!(app.tables().await[1..], before);
}

#[tokio::test]
async fn an_import_is_cancelled_before_it_runs_and_while_it_runs() {
    let (app, staff) = start().await;
    app.execute("insert into job_queues (name) values ('bulk')").await;
    let text = format!("{HEAD}{}", rows(0, 60_000));
    let import = app.import(&staff, "", text.clone()).send().await.expect(202).json();
    let cancel = async |id: &str| {
        app.call("DELETE", &format!("/api/v1/imports/{id}")).bearer(&staff.access).send().await
    };
    assert_eq!(cancel(&id(&import)).await.expect(204).body.len(), 0);
    cancel(&id(&import)).await.expect(204);
    app.execute("delete from job_queues").await;
    app.assert_clean().await;
    assert_eq!(app.count("select count(*) from products").await, 0);

    let import = app.import(&staff, "", text).send().await.expect(202).json();
    super::eventually("a batch is stored", async || {
        app.count("select count(*) from products").await > 0
    })
    .await;
    cancel(&id(&import)).await.expect(204);
    app.assert_clean().await;
    let stored = app.count("select count(*) from products").await;
    let import = app.import_answer(&staff, &id(&import)).await.expect(200).json();
    assert_eq!((&import["state"], &import["rows_upserted"]), (&json!("cancelled"), &json!(stored)));
    assert!(stored < 60_000);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(app.count("select count(*) from products").await, stored, "it went on");
    let done = app.imported(&staff, "", format!("{HEAD}S,N,,a,1,EUR,1")).await;
    cancel(&id(&done)).await.expect_problem(409, "ILLEGAL_TRANSITION");
}

#[tokio::test]
async fn an_atomic_import_that_is_cancelled_while_it_is_stored_ends_with_the_batch_at_hand() {
    let (app, staff) = start().await;
    let text = format!("{HEAD}{}", rows(0, 2_500));
    app.imported(&staff, "", text.clone()).await;
    let lock = async |product: &str| {
        let mut conn = PgConnection::connect_with(&app.pool.connect_options()).await.unwrap();
        conn.execute("begin").await.unwrap();
        let row = sqlx::query("select from products where sku = $1 for update").bind(product);
        row.execute(&mut conn).await.unwrap();
        conn
    };
    let (mut of_first, _of_second) = (lock("A0").await, lock("A2400").await);
    let import = app.import(&staff, "?mode=atomic", text).send().await.expect(202).json();
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    super::eventually("it waits for the first", async || app.count(waiting).await == 1).await;
    let path = format!("/api/v1/imports/{}", id(&import));
    app.call("DELETE", &path).bearer(&staff.access).send().await.expect(204);
    of_first.execute("rollback").await.unwrap();
    super::eventually("it goes on", async || app.count(waiting).await == 0).await;
    let over = "select count(*) from jobs where kind = 'import_products' and state = 'succeeded'";
    super::eventually("its job ends", async || {
        assert_eq!(app.count(waiting).await, 0, "it waits for a row of the next batch");
        app.count(over).await == 2
    })
    .await;
}
