//! Clients that do not behave, on real sockets: none of them holds the service.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Database, Instance, Settings, raw,
    timing::{eventually, kept},
};

/// Timers short enough to wait for.
fn impatient(database: &Database) -> Settings {
    Settings::new(&database.url)
        .set("APP__SERVER__HEAD_TIMEOUT", "1s")
        .set("APP__SERVER__IDLE_TIMEOUT", "2s")
        .set("APP__SERVER__BODY_GRACE", "1s")
        .set("APP__SERVER__WRITE_TIMEOUT", "1s")
}

/// Reads until the server closes; the time that took since `began`.
async fn until_closed(stream: &mut TcpStream, began: Instant) -> (String, Duration) {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(90), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is still open");
    (String::from_utf8_lossy(&answer).into_owned(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_slow_connections_are_closed_in_time() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    for (what, bytes) in [
        ("silence", &b""[..]),
        ("half a request line", b"GET /api/v1/pi"),
        ("half a head", b"GET /api/v1/ping HTTP/1.1\r\nHost: a\r\nX-A: "),
        ("half an HTTP/2 preface", b"PRI * HT"),
        (
            "an HTTP/2 preface without a request",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
    ] {
        let began = Instant::now();
        let mut stream = raw::connect(&instance.api).await;
        stream.write_all(bytes).await.unwrap();
        let (_, took) = until_closed(&mut stream, began).await;
        assert!(took >= Duration::from_millis(900), "{what} was cut after {took:?}");
        kept(what, took, Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_does_not_buy_time() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let began = Instant::now();
    let mut stream = raw::connect(&instance.api).await;
    for byte in
        b"GET /api/v1/ping HTTP/1.1\r\nHost: slowloris\r\nX-Padding: aaaaaaaaaaaaaaaaaaaaaaaa"
            .iter()
    {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    kept("the end of a trickled head", began.elapsed(), Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_lives_for_the_idle_time_and_longer_than_a_head_may_take() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let mut stream = raw::connect(&instance.api).await;
    let ping = b"GET /api/v1/ping HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(raw::exchange(&mut stream, ping).await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert!(raw::exchange(&mut stream, ping).await.starts_with("HTTP/1.1 200"));
    let (_, took) = until_closed(&mut stream, Instant::now()).await;
    assert!(took >= Duration::from_millis(1400), "closed after {took:?}");
    kept("the end of an idle connection", took, Duration::from_secs(2));
}

/// With the product's own times: hyper and others have some too, and a proxy that still trusts in a
/// connection which has just been closed loses a request.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_outlives_the_half_minute_that_libraries_grant() {
    let database = Database::create().await;
    let instance = Instance::ready(&Settings::new(&database.url)).await;
    let mut stream = raw::connect(&instance.api).await;
    let ping = b"GET /api/v1/ping HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..2 {
        assert!(raw::exchange(&mut stream, ping).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_secs(35)).await;
    }
    assert!(raw::exchange(&mut stream, ping).await.starts_with("HTTP/1.1 200"));
}

/// nginx keeps one for 60 s.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute long: one of `make faults`"]
async fn an_idle_connection_outlives_that_of_a_proxy() {
    let database = Database::create().await;
    let instance = Instance::ready(&Settings::new(&database.url)).await;
    let mut stream = raw::connect(&instance.api).await;
    let ping = b"GET /api/v1/ping HTTP/1.1\r\nHost: a\r\n\r\n";
    assert!(raw::exchange(&mut stream, ping).await.starts_with("HTTP/1.1 200"));
    let (_, took) = until_closed(&mut stream, Instant::now()).await;
    assert!(took >= Duration::from_secs(74), "closed after {took:?}");
    kept("the end of an idle connection", took, Duration::from_secs(77));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stop_coming_give_their_places_back() {
    let database = Database::create().await;
    let settings = impatient(&database).set("APP__SERVER__MAX_IN_FLIGHT_PER_CLIENT", "20");
    let instance = Instance::ready(&settings).await;
    let head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut stream = raw::connect(&instance.api).await;
        stream.write_all(head).await.unwrap();
        stalled.push(stream);
    }
    let began = Instant::now();
    eventually("one client cannot have more than its share", async || {
        instance.api.get("/api/v1/ping").await.status == 503
    })
    .await;
    instance.api.get("/health/live").await.expect(200);
    eventually("the places are free again", async || {
        instance.api.get("/api/v1/ping").await.status == 200
    })
    .await;
    kept("places held by stalled bodies", began.elapsed(), Duration::from_millis(1200));
    for stream in &mut stalled {
        let (answer, _) = until_closed(stream, began).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("BODY_TOO_SLOW"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_beyond_the_limits_are_problems_and_not_much_further_bare_refusals() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let ask = async |head: String| {
        let mut stream = raw::connect(&instance.api).await;
        raw::exchange(&mut stream, head.as_bytes()).await
    };
    let get =
        |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let long = format!("/api/v1/ping?{}", "a".repeat(8192));
    let answer = ask(get(&long, "")).await;
    assert!(answer.starts_with("HTTP/1.1 414") && answer.contains("URI_TOO_LONG"), "{answer}");
    let many = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let answer = ask(get("/api/v1/ping", &many)).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let large = format!("X-Large: {}\r\n", "a".repeat(17 * 1024));
    let answer = ask(get("/api/v1/ping", &large)).await;
    assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("HEADERS_TOO_LARGE"), "{answer}");
    let huge = format!("X-Huge: {}\r\n", "a".repeat(80 * 1024));
    let answer = ask(get("/api/v1/ping", &huge)).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let answer = ask(format!("GET /api/v1/ping HTTP/1.1\r\n{hosts}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_transfer_encoding_the_connection_ends() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let smuggled = "POST /api/v1/auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\
        Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\n\
        GET /api/v1/ping HTTP/1.1\r\nHost: a\r\n\r\n";
    let plain = "POST /api/v1/auth/refresh HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
        Content-Type: application/json\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /api/v1/ping HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [smuggled, plain] {
        let mut stream = raw::connect(&instance.api).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let (answer, _) = until_closed(&mut stream, Instant::now()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(!answer.contains("pong"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_reads_why_its_body_was_refused() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let mut stream = raw::connect(&instance.api).await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; 3_000_000]).await.expect("a bounded rest is read");
    let answer = raw::exchange(&mut stream, b"").await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_wait_and_are_served_when_others_end() {
    let database = Database::create().await;
    let instance =
        Instance::ready(&impatient(&database).set("APP__SERVER__MAX_CONNECTIONS", "8")).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(raw::connect(&instance.api).await);
    }
    let began = Instant::now();
    let mut stream = raw::connect(&instance.api).await;
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let (answer, took) = until_closed(&mut stream, began).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    kept("service behind thirty silent connections", took, Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_does_not_hold_the_shutdown() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("APP__SERVER__DRAIN_DELAY", "100ms");
    let mut instance = Instance::ready(&settings).await;
    let mut half = raw::connect(&instance.api).await;
    half.write_all(b"GET /api/v1/ping HTTP/1.1\r\nHost:").await.unwrap();
    let _silent = raw::connect(&instance.api).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    instance.signal("TERM");
    assert!(instance.exit().await.success());
    kept("the end with half a head open", began.elapsed(), Duration::from_millis(1000));
}

/// RFC 9112, 6.1.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_any_coding_but_chunked_is_refused_and_the_connection_ends() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let body = r#"{"email":"nobody@example.com","password":"nobody knows this"}"#;
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let ask = async |codings: &[&str]| {
        let codings = codings.iter().map(|coding| format!("Transfer-Encoding: {coding}\r\n"));
        let head =
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
        let request = [head, &codings.collect::<String>(), "\r\n", &chunk].concat();
        let began = Instant::now();
        let mut stream = raw::connect(&instance.api).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        until_closed(&mut stream, began).await.0
    };
    for codings in [
        &["gzip, chunked"][..],
        &["identity, chunked"],
        &["chunked, chunked"],
        &["gzip,chunked"],
        &["gzip", "chunked"],
        &["chunked", "chunked"],
    ] {
        let answer = ask(codings).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{codings:?}: {answer}");
        assert!(answer.contains("MALFORMED_REQUEST"), "{codings:?}: {answer}");
        assert!(answer.contains("connection: close"), "{codings:?}: {answer}");
    }
    for codings in [["chunked"], [" Chunked "]] {
        let answer = ask(&codings).await;
        assert!(answer.contains("INVALID_CREDENTIALS"), "{codings:?}: {answer}");
    }
}

/// RFC 9110, 8.6: it would be taken for that of the content which is spared.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_has_content_tells_no_length() {
    let database = Database::create().await;
    let instance = Instance::ready(&impatient(&database)).await;
    let lines = async |method: &str, fields: &str| {
        let mut stream = raw::connect(&instance.api).await;
        let path = "/docs/swagger-ui-5.35.0.css";
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let answer = raw::exchange(&mut stream, head.as_bytes()).await.to_ascii_lowercase();
        let head = answer.split("\r\n\r\n").next().unwrap().to_owned();
        head.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let length = |lines: &[String]| {
        lines.iter().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))
    };
    let whole = lines("HEAD", "").await;
    assert!(length(&whole).is_some_and(|length| length.len() > 3), "{whole:?}");
    for method in ["HEAD", "GET"] {
        let same = lines(method, "If-None-Match: *\r\n").await;
        assert_eq!(same[0], "http/1.1 304 not modified");
        assert_eq!(length(&same), None, "{method}");
    }
}
