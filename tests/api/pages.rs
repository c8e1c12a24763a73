//! The pages that links in mails open.

use base64::{Engine, engine::general_purpose::STANDARD};
use mainstay::{
    domain::{ids::UserId, mail_tokens::Purpose},
    shared::crypto::sha256,
};

use crate::support::TestApp;

const PAGES: [Purpose; 3] = Purpose::ALL;

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).expect(start);
    rest.split_once(end).expect(end).0
}

#[tokio::test]
async fn every_link_has_a_page_that_runs_its_own_script_and_talks_to_us_alone() {
    let app = TestApp::new().await;
    for purpose in PAGES {
        let answer = app.get(&format!("/{}", purpose.page())).send().await.expect(200);
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let page = String::from_utf8(answer.body.clone()).unwrap();
        let digest = |tag: &str| {
            let inline = between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
            STANDARD.encode(sha256(inline.as_bytes()))
        };
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            digest("script"),
            digest("style")
        );
        assert_eq!(answer.header("content-security-policy"), policy);
        for word in ["src=", "<link", "http:", "https:", "onclick", "style=\"", "{{"] {
            assert!(!page.contains(word), "{word} in {page}");
        }
    }
}

#[tokio::test]
async fn opening_a_page_uses_nothing_up_however_it_is_asked() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.execute("update users set email_verified = false").await;
    let user = UserId(ada.id.parse().unwrap());
    let tokens = &app.app.services.post.tokens;
    for purpose in [Purpose::VerifyEmail, Purpose::ResetPassword] {
        let db = &app.app.db;
        let issued = db.tx("test", async |tx| tokens.issue(tx, Some(user), purpose, None).await);
        assert!(issued.await.unwrap().holds);
    }
    for purpose in PAGES {
        for method in ["GET", "HEAD"] {
            app.call(method, &format!("/{}", purpose.page())).send().await.expect(200);
        }
        app.post(&format!("/{}", purpose.page())).send().await.expect(405);
        app.get(&format!("/{}?token=x", purpose.page())).send().await.expect(422);
    }
    assert_eq!(app.count("select count(*) from mail_tokens").await, 2);
    assert_eq!(app.count("select count(*) from users where email_verified").await, 0);
}
