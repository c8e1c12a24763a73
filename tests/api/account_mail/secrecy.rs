//! Tokens stand in letters and nowhere else.

use sqlx::AssertSqlSafe;

use super::{super::support::TestApp, NEW_PASSWORD, VERIFIED};

/// Every row of every table, as text; bytes are in hexadecimal.
async fn dump(app: &TestApp) -> String {
    let tables = "select format('%I', relname) from pg_class
                  where relkind = 'r' and relnamespace = 'public'::regnamespace";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&app.pool).await.unwrap();
    assert!(tables.len() > 8, "{tables:?}");
    let mut all = String::new();
    for table in tables {
        let rows = AssertSqlSafe(format!("select t::text from {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&app.pool).await.unwrap();
        all.extend(rows);
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn no_token_is_in_the_queue_or_anywhere_in_the_database() {
    let app = TestApp::mailing(&[VERIFIED]).await;
    app.registered("ada@example.com").await.expect(202);
    let verify = app.newest_token("ada@example.com").await;
    let ada = app.customer("eve").await;
    app.forgot("eve@example.com").await.expect(202);
    let reset = app.newest_token("eve@example.com").await;
    app.change_email(&ada.access, "new@example.com").await.expect(202);
    let change = app.newest_token("new@example.com").await;
    for used in [false, true] {
        if used {
            app.verified(&verify).await.expect(204);
            app.verified(&change).await.expect(204);
            app.forgot("new@example.com").await.expect(202);
            let token = app.newest_token("new@example.com").await;
            app.reset(&token, NEW_PASSWORD).await.expect(204);
        }
        let dump = dump(&app).await;
        assert!(dump.contains("reset_password"), "the queue is among it");
        for token in [&verify, &reset, &change] {
            let secret = mainstay::shared::crypto::from_base64url(token).unwrap()[16..].to_vec();
            assert!(!dump.contains(token.as_str()) && !dump.contains(&token[22..]), "used: {used}");
            assert!(!dump.contains(&hex(&secret)), "used: {used}");
        }
        assert!(!dump.contains("#token=") && !dump.contains("account/reset-password"));
    }
}

#[tokio::test]
async fn the_queue_holds_no_address_that_was_typed() {
    let app = TestApp::new().await;
    app.customer("ada").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        app.forgot(email).await.expect(202);
    }
    let payloads = "select string_agg(j::text, ' ') from jobs j";
    let payloads: String = sqlx::query_scalar(payloads).fetch_one(&app.pool).await.unwrap();
    assert!(payloads.contains("reset_password") && !payloads.contains("example.com"), "{payloads}");
}
