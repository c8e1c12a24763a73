//! Every refusal is problem+json, whoever refuses, and every answer carries its headers.

use std::io::Write;

use serde_json::json;

use super::support::{Answer, Call, TestApp, people::PASSWORD};

fn register(app: &TestApp, media: &str, body: impl Into<Vec<u8>>) -> Call {
    app.post("/api/v1/auth/register").text(media, body.into())
}

#[tokio::test]
async fn unknown_paths_methods_and_media_types_are_problems() {
    let app = TestApp::new().await;
    app.get("/nowhere").send().await.expect_problem(404, "NOT_FOUND");
    app.get("/api/v1/users/me/").send().await.expect_problem(404, "NOT_FOUND");
    let answer = app.call("PUT", "/api/v1/users/me").send().await;
    let answer = answer.expect_problem(405, "METHOD_NOT_ALLOWED");
    assert_eq!(answer.header("allow"), "GET,HEAD,PATCH,DELETE");
    for method in ["TRACE", "TRACK", "PROPFIND", "OPTIONS"] {
        let answer = app.call(method, "/api/v1/users/me").send().await;
        assert!(!answer.expect_problem(405, "METHOD_NOT_ALLOWED").header("allow").is_empty());
    }
    for accept in ["text/html", "application/json;q=0", "image/*"] {
        let answer = app.get("/api/v1/ping").header("accept", accept).send().await;
        answer.expect_problem(406, "NOT_ACCEPTABLE");
    }
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        register(&app, media, "{}").send().await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    app.post("/api/v1/auth/register").send().await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn what_is_only_written_as_json_is_no_json_of_ours() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let patch = |media: &str| {
        let call = app.call("PATCH", "/api/v1/users/me").bearer(&ada.access);
        call.text(media, r#"{"name": "Ada King"}"#).send()
    };
    for media in [
        "application/merge-patch+json",
        "application/problem+json",
        "application/vnd.api+json; charset=utf-8",
        "application/jsonx",
        "text/json",
    ] {
        patch(media).await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
        register(&app, media, "{}").send().await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for media in ["application/json", "Application/JSON;charset=utf-8", "application/json ; a=b"] {
        patch(media).await.expect(200);
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_are_malformed_and_quickly_refused() {
    let app = TestApp::new().await;
    let deep = format!("{{\"email\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let colliding = (0..60_000).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    for body in [
        "",
        "{",
        "[1",
        "{\"a\":1,}",
        "{'a':1}",
        "nul",
        "{} {}",
        "\u{feff}{}",
        "{\"email\":\"a\",\"email\":\"b\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\t\u{0}}",
        &deep,
    ] {
        let started = std::time::Instant::now();
        register(&app, "application/json", body)
            .send()
            .await
            .expect_problem(400, "MALFORMED_REQUEST");
        assert!(started.elapsed().as_millis() < 1500, "{:?}", started.elapsed());
    }
    register(&app, "application/json", b"{\"email\":\"\xff\"}".to_vec()).send().await.expect(400);
    register(&app, "application/json", format!("{{{colliding}}}")).send().await.expect(422);
}

#[tokio::test]
async fn types_ranges_and_nul_are_told_by_field() {
    let app = TestApp::new().await;
    let body =
        |email: serde_json::Value| json!({"email": email, "password": PASSWORD, "name": "Ada"});
    for (bad, fault) in [
        (body(json!(1)), ("email", "type")),
        (body(json!(null)), ("email", "type")),
        (body(json!({"a": 1})), ("email", "type")),
        (body(json!("a\u{0}@example.com")), ("email", "nul")),
        (json!({"email": "a@example.com"}), ("password", "required")),
        (json!([]), ("", "type")),
    ] {
        let answer = app.post("/api/v1/auth/register").json(&bad).send().await;
        let answer = answer.expect_problem(422, "VALIDATION_FAILED");
        if fault.0.is_empty() {
            continue;
        }
        assert_eq!(answer.faults(), [(fault.0.to_owned(), fault.1.to_owned())], "{bad}");
    }
}

#[tokio::test]
async fn a_body_is_an_object_and_never_its_fields_in_a_row() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for body in [json!(["Renamed"]), json!([]), json!(null), json!("name"), json!(1)] {
        let call = app.call("PATCH", "/api/v1/users/me").bearer(&ada.access).json(&body);
        let answer = call.send().await.expect_problem(422, "VALIDATION_FAILED");
        assert!(!String::from_utf8_lossy(&answer.body).contains("struct"), "{body}");
    }
    assert_eq!(app.count("select count(*) from users where name = 'Renamed'").await, 0);
}

#[tokio::test]
async fn names_of_unknown_fields_are_repeated_only_so_far() {
    let app = TestApp::new().await;
    let long = json!({"k".repeat(100_000): 1});
    let answer = app.post("/api/v1/auth/login").json(&long).send().await.expect(422);
    assert!(answer.body.len() < 1000, "{}", answer.body.len());
}

#[tokio::test]
async fn query_parameters_that_a_route_does_not_have_are_refused() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    for path in ["/api/v1/users/me?x=1", "/api/v1/ping?x", "/api/v1/ping?%ff=1"] {
        let answer = app.get(path).bearer(&ada.access).send().await;
        assert_eq!(answer.expect_problem(422, "VALIDATION_FAILED").faults()[0].1, "unknown_field");
    }
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_too_large_announced_or_not_and_zipped_or_not() {
    let app = TestApp::new().await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    register(&app, "application/json", large.clone())
        .send()
        .await
        .expect_problem(413, "PAYLOAD_TOO_LARGE");
    let announced = register(&app, "application/json", "{}").header("content-length", "2000000");
    announced.send().await.expect_problem(413, "PAYLOAD_TOO_LARGE");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let call = register(&app, "application/json", bomb).header("content-encoding", "gzip");
    call.send().await.expect_problem(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_zipped_body_is_read_and_unknown_codings_are_refused() {
    let app = TestApp::new().await;
    let body = json!({"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}).to_string();
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zip.write_all(body.as_bytes()).unwrap();
    let call = register(&app, "application/json", zip.finish().unwrap());
    call.header("content-encoding", "gzip").send().await.expect(201);
    for coding in ["br", "deflate", "zstd", "rot13", "gzip, gzip"] {
        let call =
            register(&app, "application/json", body.clone()).header("content-encoding", coding);
        call.send().await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let call = register(&app, "application/json", "no gzip").header("content-encoding", "gzip");
    call.send().await.expect_problem(400, "MALFORMED_REQUEST");
}

#[tokio::test]
async fn answers_over_a_kibibyte_are_compressed_when_asked() {
    let app = TestApp::new().await;
    let root = app.admin("root").await;
    for n in 0..6 {
        app.customer(&format!("user{n}")).await;
    }
    for coding in ["gzip", "br", "zstd"] {
        let call = app.get("/api/v1/users").bearer(&root.access).header("accept-encoding", coding);
        let answer = call.send().await.expect(200);
        assert_eq!(answer.header("content-encoding"), coding);
        assert!(answer.header("vary").contains("accept-encoding"));
    }
    let small = app.get("/api/v1/users/me").bearer(&root.access).header("accept-encoding", "gzip");
    assert_eq!(small.send().await.header("content-encoding"), "");
}

/// HTTP/2 brings as many as it likes; the parser of HTTP/1.1 refuses the 101st by itself.
#[tokio::test]
async fn more_than_a_hundred_fields_are_too_many() {
    let app = TestApp::new().await;
    let with = |fields: usize| {
        (0..fields).fold(app.get("/api/v1/ping"), |call, n| call.header(&format!("x-{n}"), "1"))
    };
    with(90).send().await.expect(200);
    with(101).send().await.expect_problem(431, "HEADERS_TOO_LARGE");
}

#[tokio::test]
async fn who_takes_neither_plain_text_nor_a_coding_of_ours_is_told_before_anything_is_done() {
    let app = TestApp::new().await;
    let call = app.get("/api/v1/ping").header("accept-encoding", "identity;q=0, compress");
    call.send().await.expect_problem(406, "NOT_ACCEPTABLE");
}

#[tokio::test]
async fn every_answer_is_hardened_also_the_refusals() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let answers: Vec<Answer> = vec![
        app.get("/api/v1/users/me").bearer(&ada.access).send().await,
        app.get("/api/v1/users/me").send().await,
        app.get("/nowhere").send().await,
        app.call("PUT", "/api/v1/users/me").send().await,
        register(&app, "text/plain", "x").send().await,
        register(&app, "application/json", "x".repeat(2 << 20)).send().await,
        app.get("/health/ready").send().await,
    ];
    for answer in answers {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            (
                "content-security-policy",
                "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
            ),
            ("strict-transport-security", "max-age=63072000; includeSubDomains"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{answer:?}");
        }
        assert!(!answer.header("x-request-id").is_empty() && answer.header("server").is_empty());
        assert!(!answer.header("vary").to_lowercase().contains("authorization"));
    }
}

#[tokio::test]
async fn a_harmless_request_id_comes_back_and_others_are_replaced() {
    let app = TestApp::new().await;
    let send = async |id: &str| {
        app.get("/nowhere")
            .header("x-request-id", id)
            .send()
            .await
            .expect_problem(404, "NOT_FOUND")
            .header("x-request-id")
            .to_owned()
    };
    assert_eq!(send("req_A-1.b").await, "req_A-1.b");
    for bad in ["", "a b", "a;b", &"x".repeat(129)] {
        assert_ne!(send(bad).await, bad);
    }
}

#[tokio::test]
async fn a_fault_of_ours_shows_a_request_id_and_nothing_else() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    app.execute("alter table users rename column name to broken").await;
    let answer = app.get("/api/v1/users/me").bearer(&ada.access).send().await;
    let answer = answer.expect_problem(500, "INTERNAL");
    let text = String::from_utf8(answer.body).unwrap();
    for inner in ["column", "select", "sqlx", "postgres", "src/", "users"] {
        assert!(!text.to_lowercase().contains(inner), "{text}");
    }
}
