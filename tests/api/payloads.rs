//! Texts that were made to mean something elsewhere (SQL, patterns, headers, shells, paths, logs) at
//! every place where a client may put text: they are text, or they are refused.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Answer, Call, Person, TestApp};

/// Nothing asked for here is slow by itself; the payloads ask the database to sleep for three.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a statement could be closed with, what could follow, and how the rest is hidden.
fn sql() -> Vec<String> {
    let opening = ["", "'", "\"", "')", "'))", "\\'", "''", "`", "%'", "$$", "';", "\u{2019}"];
    let effects = [
        " or 1=1",
        " or 'a'='a",
        " and 1=0",
        " union select null",
        " union all select email from users",
        "; drop table users",
        "; update users set role = 'admin'",
        "; delete from users",
        "; select pg_sleep(3)",
        "||pg_sleep(3)",
        " or pg_sleep(3) is null",
        " order by 99",
        " limit 0 offset 99",
        "::int",
        "||(select password_hash from users limit 1)",
        "; copy users to '/tmp/x'",
        " and 1=cast(version() as int)",
    ];
    let closing = ["", "--", "/*", "#"];
    let mut all = Vec::new();
    for opening in opening {
        for effect in effects {
            all.extend(closing.map(|closing| format!("{opening}{effect}{closing}")));
        }
    }
    all
}

fn others() -> Vec<String> {
    let plain = [
        // patterns and regular expressions
        "%",
        "_",
        "%%%",
        "\\",
        "\\%",
        "[a-z]",
        "(a+)+$",
        "(.*)*x",
        ".*",
        "^",
        "*",
        "?",
        "a{1000000}",
        "(?=x)",
        // other query languages and templates
        "{\"$gt\":\"\"}",
        "[$ne]=1",
        "${7*7}",
        "{{7*7}}",
        "#{7*7}",
        "<%= 7*7 %>",
        "${jndi:ldap://127.0.0.1/a}",
        "__proto__",
        "constructor",
        "*)(uid=*",
        "' or '1'='1' ({",
        "<!--",
        "<script>alert(1)</script>",
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>",
        // heads of answers, mails and lines of logs
        "a\r\nSet-Cookie: x=1",
        "a\nBcc: x@example.com",
        "a\r\n\r\n<html>",
        "a%0d%0aX: y",
        "\u{560d}\u{560a}X: y",
        "a\u{1b}[2J",
        "a\u{7}",
        "a\u{2028}b",
        "a\u{85}b",
        "{\"level\":\"INFO\"}\n{\"a\":1}",
        // paths, shells, formats
        "../../etc/passwd",
        "..\\..\\x",
        "/etc/passwd\u{0}.png",
        "file:///etc/passwd",
        "%2e%2e%2f",
        "`id`",
        "$(id)",
        "; id",
        "| id",
        "& id",
        "%s%s%n",
        "%x",
        "{0}",
        "\u{0}",
        "a\u{0}b",
        // text that changes its length, order or case
        "\u{202e}txt.exe",
        "\u{200b}",
        "\u{feff}",
        "ı",
        "İ",
        "ß",
        "ﬁ",
        "e\u{301}",
        "\u{1f468}\u{200d}\u{1f469}",
        "\u{fdfa}",
        "Z\u{341}\u{341}\u{341}\u{341}\u{341}",
        "\u{10ffff}",
        "\u{d7ff}",
        "\u{fffd}",
        // numbers, times and nothing
        "-1",
        "0",
        "1e309",
        "NaN",
        "Infinity",
        "9223372036854775808",
        "-9223372036854775809",
        "0x7fffffff",
        "1,000",
        "0000-00-00",
        "9999-12-31T23:59:60Z",
        "-infinity",
        "null",
        "undefined",
        "true",
        "[]",
        "",
    ];
    plain.map(str::to_owned).into()
}

struct Target {
    app: TestApp,
    ada: Person,
    root: Person,
}

impl Target {
    async fn call(&self, what: &str, call: Call, payload: &str) -> Answer {
        let began = Instant::now();
        let answer = call.send().await;
        let took = began.elapsed();
        assert!(took < PATIENCE, "{what} took {took:?} for {payload:?}");
        assert!(answer.status.as_u16() < 500, "{what}: {} for {payload:?}", answer.status);
        answer
    }

    fn get(&self, path: &str, parameter: &str, payload: &str) -> Call {
        let value: String = url::form_urlencoded::byte_serialize(payload.as_bytes()).collect();
        self.app.get(&format!("{path}?{parameter}={value}")).bearer(&self.root.access)
    }

    /// The answer, if any, has no row: no name and no action is like this.
    async fn finds_nothing(&self, path: &str, parameter: &str, payload: &str) {
        let what = format!("{path}?{parameter}");
        let answer = self.call(&what, self.get(path, parameter, payload), payload).await;
        if answer.status == 200 {
            assert_eq!(answer.json()["data"], json!([]), "{what} for {payload:?}");
        }
    }

    async fn fits_no_parameter(&self, payload: &str) {
        let (users, audit) = ("/api/v1/users", "/api/v1/admin/audit-events");
        for (path, parameter) in
            [(users, "role"), (users, "cursor"), (audit, "actor_id"), (audit, "cursor")]
        {
            let what = format!("{path}?{parameter}");
            let answer = self.call(&what, self.get(path, parameter, payload), payload).await;
            assert!(answer.status.is_client_error(), "{what}: {} for {payload:?}", answer.status);
        }
    }

    /// A name is any text: it comes back as it was sent, or is refused.
    async fn is_a_name_or_none(&self, payload: &str) {
        let call = self.app.call("PATCH", "/api/v1/users/me").bearer(&self.ada.access);
        let answer = self.call("a name", call.json(&json!({"name": payload})), payload).await;
        match answer.status.as_u16() {
            200 => assert_eq!(answer.json()["name"], payload.trim(), "{payload:?}"),
            status => assert_eq!(status, 422, "{payload:?}"),
        }
    }

    async fn signs_nobody_in(&self, payload: &str) {
        let body = json!({"email": payload, "password": "x"});
        let call = self.app.post("/api/v1/auth/login").json(&body);
        let answer = self.call("an address", call, payload).await;
        assert!(answer.status.is_client_error(), "{payload:?}");
        let call = self.app.refresh_call(payload);
        let answer = self.call("a refresh token", call, payload).await;
        assert!(answer.status.is_client_error(), "{payload:?}");
    }

    /// Bytes that no head may hold never get here.
    async fn is_harmless_in_a_head(&self, payload: &str) {
        if http::HeaderValue::from_bytes(payload.as_bytes()).is_err() {
            return;
        }
        for name in [
            "user-agent",
            "x-request-id",
            "if-match",
            "cookie",
            "authorization",
            "accept",
            "origin",
        ] {
            let call = self.app.get("/api/v1/users/me").header(name, payload);
            let answer = self.call(name, call, payload).await;
            assert!(answer.status.is_client_error(), "{name}: {payload:?}");
        }
    }

    async fn is_no_id(&self, payload: &str) {
        let path: String =
            percent_encoding::utf8_percent_encode(payload, percent_encoding::NON_ALPHANUMERIC)
                .collect();
        let call = self.app.get(&format!("/api/v1/users/{path}")).bearer(&self.root.access);
        let answer = self.call("an id", call, payload).await;
        assert!(answer.status.is_client_error() || payload.is_empty(), "{payload:?}");
    }
}

#[tokio::test]
async fn payloads_are_text_or_refused_wherever_they_are_put() {
    let app = TestApp::new().await;
    let (ada, root) = (app.customer("ada").await, app.admin("root").await);
    let target = Target { app, ada, root };
    let payloads = [sql(), others()].concat();
    assert!(payloads.len() > 500, "{}", payloads.len());
    for (n, payload) in payloads.iter().enumerate() {
        target.app.execute("update users set name = 'Z' where role = 'customer'").await;
        target.finds_nothing("/api/v1/users", "q", payload).await;
        target.is_a_name_or_none(payload).await;
        // The other places in turn: how a payload begins and ends has no rhythm of five.
        match n % 5 {
            0 => target.finds_nothing("/api/v1/admin/audit-events", "action", payload).await,
            1 => target.fits_no_parameter(payload).await,
            2 => target.is_no_id(payload).await,
            3 => target.signs_nobody_in(payload).await,
            _ => target.is_harmless_in_a_head(payload).await,
        }
    }
    assert_eq!(target.app.count("select count(*) from users").await, 2);
    assert_eq!(target.app.count("select count(*) from users where role = 'admin'").await, 1);
    target.app.post("/api/v1/auth/logout").bearer(&target.ada.access).send().await.expect(204);
}

#[tokio::test]
async fn extremes_of_numbers_and_times_are_refused_by_field() {
    let app = TestApp::new().await;
    let (ada, root) = (app.customer("ada").await, app.admin("root").await);
    for list in ["/api/v1/users", "/api/v1/admin/audit-events"] {
        for limit in [
            "-1",
            "0",
            "101",
            "1000000000",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "1e2",
            "1.0",
            "0x10",
            "+",
            "NaN",
            "",
            "99999999999999999999999999999999999999",
        ] {
            let answer =
                app.get(&format!("{list}?limit={limit}")).bearer(&root.access).send().await;
            assert_eq!(
                answer.expect_problem(422, "VALIDATION_FAILED").faults()[0].0,
                "limit",
                "{limit}"
            );
        }
        let long = "A".repeat(7000);
        for cursor in ["-1", "0", "AAAA", "....", long.as_str(), "null"] {
            let answer =
                app.get(&format!("{list}?cursor={cursor}")).bearer(&root.access).send().await;
            answer.expect_problem(400, "MALFORMED_REQUEST");
        }
    }
    for value in
        ["1", "-0", "1e308", "18446744073709551615", "9223372036854775808", "true", "[]", "{}"]
    {
        let call = app.call("PATCH", "/api/v1/users/me").bearer(&ada.access);
        let call = call.text("application/json", format!("{{\"name\":{value}}}"));
        let answer = call.send().await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults(), [("name".to_owned(), "type".to_owned())], "{value}");
    }
}
