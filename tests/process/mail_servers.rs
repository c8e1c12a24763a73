//! Mail as servers that others wrote receive it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{
    Api, Database, Instance, Person, Settings, eventually, mail_server::MailServer,
    nginx::free_port,
};

async fn start(database: &Database, server: &MailServer) -> (Instance, Instance) {
    let settings = Settings::new(&database.url)
        .set("APP__JOBS__IN_PROCESS", "false")
        .set("APP__AUTH__REQUIRE_VERIFIED_EMAIL", "true")
        .set("APP__SERVER__PUBLIC_URL", "https://shop.example")
        .set("APP__MAIL__FROM_ADDRESS", "shop@shop.example")
        .set("SMTP_URL", server.url());
    (Instance::ready(&settings).await, Instance::worker(&settings).await)
}

async fn register(api: &Instance, email: &str) {
    let Person { password, .. } = Person::new();
    let body = serde_json::json!({"email": email, "password": password, "name": "Ada Łovelace"});
    api.api.post("/api/v1/auth/register", body).await.expect(202);
}

async fn states(database: &Database) -> String {
    let states = "select coalesce(string_agg(state, ' ' order by state), '') from jobs
                  where kind = 'send_mail'";
    database.text(states).await
}

fn text<'a>(told: &'a Value, member: &str) -> &'a str {
    told[member].as_str().unwrap_or_default()
}

/// Slashes are written as entities.
fn html(message: &Value) -> String {
    text(message, "html").replace("&#x2f;", "/")
}

const LINK: &str = "https://shop.example/account/verify-email#token=";

#[tokio::test]
async fn aiosmtpd_keeps_each_message_once_whatever_it_failed_with_before() {
    let Some(server) = MailServer::start("aiosmtpd", &[]).await else { return };
    let database = Database::create().await;
    let (api, _worker) = start(&database, &server).await;
    let moody = "greylist.full.lost.ada@example.com";
    for email in [moody, "grace@example.com", "nobody.bob@example.com"] {
        register(&api, email).await;
    }
    eventually("all mail has its end", async || {
        states(&database).await == "dead succeeded succeeded"
    })
    .await;
    let told = server.told();
    let failed = |to: &str| -> Vec<_> {
        let of = told.iter().filter(|told| text(told, "to") == to);
        of.map(|told| text(told, "failed")).filter(|failed| !failed.is_empty()).collect()
    };
    assert_eq!(failed(moody), ["greylist", "full", "lost"]);
    assert_eq!(failed("nobody.bob@example.com"), ["nobody"], "refused for good, asked once");
    let kept: Vec<_> = told.iter().filter(|told| told["failed"].is_null()).collect();
    let to: BTreeSet<_> = kept.iter().map(|told| text(told, "to")).collect();
    assert_eq!((kept.len(), to), (2, BTreeSet::from([moody, "grace@example.com"])));
    for message in kept {
        assert_eq!(message["defects"], serde_json::json!([]), "{message}");
        assert!(text(message, "text").contains(LINK), "{message}");
        assert!(html(message).contains(LINK), "{message}");
        assert!(text(message, "message_id").ends_with("@shop.example>"), "{message}");
    }
}

#[tokio::test]
async fn maildev_shows_the_message_that_was_sent() {
    let web = free_port();
    let Some(server) = MailServer::start("maildev", &[web]).await else { return };
    let database = Database::create().await;
    let (api, _worker) = start(&database, &server).await;
    register(&api, "ada@example.com").await;
    eventually("it is sent", async || states(&database).await == "succeeded").await;
    let shown = Api::new(&format!("http://127.0.0.1:{web}")).get("/email").await.expect(200).json();
    let message = &shown[0];
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(message["to"][0]["address"], "ada@example.com");
    assert_eq!(message["from"][0]["address"], "shop@shop.example");
    assert!(text(message, "text").contains(LINK), "{message}");
    assert!(html(message).contains(LINK), "{message}");
}
