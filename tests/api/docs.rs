//! The page of the API description: complete in itself, under a policy of its own.

use std::io::Read;

use super::support::{Answer, TestApp};

/// The addresses that the page loads.
fn parts(page: &str) -> Vec<&str> {
    let attributes = page.split(['"', '>']).filter(|text| text.starts_with("/docs/"));
    attributes.collect()
}

fn unpacked(answer: &Answer) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn the_page_asks_nobody_else_and_runs_no_script_that_its_policy_does_not_name() {
    let app = TestApp::new().await;
    let answer = app.get("/docs").header("accept", "text/html").send().await.expect(200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let policy = answer.header("content-security-policy");
    for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = String::from_utf8(answer.body.clone()).unwrap();
    let inline = page.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, inline.as_bytes());
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hash);
    assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
    assert!(!page.contains("//"), "the page names another host: {page}");
    assert_eq!(parts(&page).len(), 2, "{page}");
}

#[tokio::test]
async fn what_the_page_loads_is_here_and_is_kept_for_good() {
    let app = TestApp::new().await;
    let page = String::from_utf8(app.get("/docs").send().await.body).unwrap();
    for path in parts(&page) {
        let call = || app.get(path).header("accept-encoding", "gzip, deflate, br");
        let answer = call().send().await.expect(200);
        let media = if path.ends_with(".js") { "text/javascript" } else { "text/css" };
        assert_eq!(answer.header("content-type"), format!("{media}; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert_eq!(answer.header("vary"), "accept-encoding");
        let tag = answer.header("etag");
        let again = call().header("if-none-match", tag).send().await.expect(304);
        assert!(again.body.is_empty() && again.header("etag") == tag);
        let plain = app.get(path).header("accept-encoding", "gzip;q=0").send().await.expect(200);
        assert_eq!(plain.header("content-encoding"), "");
        assert_eq!(String::from_utf8(plain.body).unwrap(), unpacked(&answer));
    }
}

#[tokio::test]
async fn every_answer_without_a_policy_of_its_own_keeps_the_strict_one() {
    let app = TestApp::new().await;
    for path in ["/docs/nowhere", "/docs/swagger-ui-5.35.0.js", "/openapi.json"] {
        let policy = app.get(path).send().await;
        let policy = policy.header("content-security-policy").to_owned();
        assert_eq!(policy, "default-src 'none'; base-uri 'none'; frame-ancestors 'none'", "{path}");
    }
}
