//! HTTP/2 clients that use what the protocol allows to make the service work or wait for nothing.
//! The connection ends, memory and processors are spared, and others do not notice.

use std::time::{Duration, Instant};

use crate::support::{
    Database, Instance, Settings,
    h2::{self, Connection, frame},
    timing::{kept, say},
    within,
};

const WINDOW: u32 = 1 << 20;
const MIB: u64 = 1 << 20;

struct Attacked {
    instance: Instance,
    rss: u64,
    cpu: Duration,
    began: Instant,
    _database: Database,
}

impl Attacked {
    async fn start() -> Self {
        let database = Database::create().await;
        let settings = Settings::new(&database.url)
            .set("APP__SERVER__HEAD_TIMEOUT", "1s")
            .set("APP__SERVER__IDLE_TIMEOUT", "60s")
            .set("APP__SERVER__BODY_GRACE", "1s")
            .set("APP__SERVER__WRITE_TIMEOUT", "1s");

        let instance = Instance::ready(&settings).await;
        // What is made once should not count.
        instance.api.get("/openapi.json").await.expect(200);
        let (rss, cpu) = (instance.rss(), instance.cpu());
        Self { instance, rss, cpu, began: Instant::now(), _database: database }
    }

    /// A connection on which a request was answered, so that it is nobody's first.
    async fn connect(&self, window: u32) -> Connection {
        let mut connection = Connection::open(&self.instance.api, WINDOW).await;
        connection.send(&h2::get(1, "/api/v1/ping")).await;
        connection.answer(1).await;
        let window = [&[0, 4][..], &window.to_be_bytes()].concat();
        connection.send(&frame(h2::SETTINGS, 0, 0, &window)).await;
        connection
    }

    async fn is_unharmed(&self, what: &str) {
        let grown = self.instance.rss().saturating_sub(self.rss) / MIB;
        let cpu = self.instance.cpu() - self.cpu;
        say(&format!("{what}: {grown} MiB more, {} ms of processors", cpu.as_millis()));
        assert!(grown <= 24, "{what}: {grown} MiB more");
        self.instance.api.get("/api/v1/ping").await.expect(200);
        within("the connection is forgotten", Duration::from_secs(1), async || {
            let metrics = self.instance.api.get("/metrics").await.text;
            metrics.contains("http_requests_in_flight 1\n")
        })
        .await;
    }
}

/// Sends until the other side has gone.
async fn flood(connection: &mut Connection, what: &str, parts: impl Iterator<Item = Vec<u8>>) {
    let mut sent = 0;
    for part in parts {
        if !connection.send(&part).await {
            say(&format!("{what}: ended after {sent} pieces"));
            return;
        }
        sent += 1;
    }
    connection.ends().await;
    say(&format!("{what}: ended after all {sent} pieces were sent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_withdrawn_again_and_again_end_the_connection() {
    let attacked = Attacked::start().await;
    let mut connection = attacked.connect(WINDOW).await;
    let one = |n: u32| {
        let stream = 2 * n + 3;
        let reset = frame(h2::RST_STREAM, 0, stream, &h2::CANCEL);
        [h2::get(stream, "/api/v1/ping"), reset].concat()
    };
    flood(&mut connection, "rapid reset", (0..20_000).map(one)).await;
    kept("the end of a rapid reset", attacked.began.elapsed(), Duration::from_secs(2));
    attacked.is_unharmed("rapid reset").await;
}

/// Slowly, so that each request is begun before it is withdrawn.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_begun_and_then_withdrawn_end_the_connection_too() {
    let attacked = Attacked::start().await;
    let mut connection = attacked.connect(WINDOW).await;
    let mut sent = 0;
    for stream in (3..2000).step_by(2) {
        let reset = frame(h2::RST_STREAM, 0, stream, &h2::CANCEL);
        let begun = h2::post_head(stream, "/api/v1/auth/login");
        if !connection.send(&begun).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        if !connection.send(&reset).await {
            break;
        }
        sent += 1;
    }
    assert!((100..900).contains(&sent), "it ended after {sent} withdrawn requests");
    attacked.is_unharmed("begun and withdrawn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut_off() {
    let attacked = Attacked::start().await;
    let mut connection = attacked.connect(WINDOW).await;
    // A field of its own in each frame: `x: 1000 times y`.
    let field = [&[0x00, 1, b'x', 0x7f, 0xe9, 0x06][..], &[b'y'; 1000]].concat();
    let begin = frame(h2::HEADERS, h2::END_STREAM, 3, &[0x82, 0x86]);
    let more = std::iter::repeat_with(|| frame(h2::CONTINUATION, 0, 3, &field)).take(100_000);
    flood(&mut connection, "continuations", std::iter::once(begin).chain(more)).await;
    attacked.is_unharmed("continuations").await;
    let mut connection = attacked.connect(WINDOW).await;
    let begin = frame(h2::HEADERS, h2::END_STREAM, 3, &[0x82, 0x86]);
    let more = std::iter::repeat_with(|| frame(h2::CONTINUATION, 0, 3, &[])).take(100_000);
    flood(&mut connection, "empty continuations", std::iter::once(begin).chain(more)).await;
    attacked.is_unharmed("empty continuations").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_that_ask_for_nothing_end_the_connection() {
    let attacked = Attacked::start().await;
    let settings = frame(h2::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
    for (what, one) in [
        ("pings", frame(h2::PING, 0, 0, &[0; 8])),
        ("settings", settings),
        ("window updates", h2::window_update(0, 1)),
        ("priorities", frame(2, 0, 3, &[0, 0, 0, 0, 1])),
        ("frames of no known kind", frame(0x77, 0, 0, &[0; 64])),
    ] {
        let mut connection = attacked.connect(WINDOW).await;
        let began = Instant::now();
        flood(&mut connection, what, std::iter::repeat_n(one.repeat(100), 5000)).await;
        // An idle connection would have lived for a minute.
        kept(what, began.elapsed(), Duration::from_secs(5));
        attacked.is_unharmed(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_read_end_the_connection() {
    let attacked = Attacked::start().await;
    for (what, trickle) in [("a window of nothing", 0), ("a window that trickles", 1)] {
        let mut connection = attacked.connect(0).await;
        let asked: Vec<_> = (1..=100).flat_map(|n| h2::get(2 * n + 1, "/openapi.json")).collect();
        connection.send(&asked).await;
        let began = Instant::now();
        while trickle > 0 && began.elapsed() < Duration::from_secs(6) {
            let more: Vec<_> =
                (1..=100).flat_map(|n| h2::window_update(2 * n + 1, trickle)).collect();
            if !connection.send(&more).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        connection.ends().await;
        kept(what, began.elapsed(), Duration::from_millis(1500));
        attacked.is_unharmed(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_costs_its_stream_and_not_the_connection() {
    let attacked = Attacked::start().await;
    let mut connection = attacked.connect(WINDOW).await;
    let began = Instant::now();
    connection.send(&h2::post_head(3, "/api/v1/auth/login")).await;
    connection.answer(3).await;
    kept("the answer to half a request", began.elapsed(), Duration::from_millis(1200));
    connection.send(&h2::get(5, "/api/v1/ping")).await;
    connection.answer(5).await;
    attacked.is_unharmed("half a request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_arrives_whole_through_a_small_window() {
    let attacked = Attacked::start().await;
    let whole = attacked.instance.api.get("/openapi.json").await.text;
    let mut connection = Connection::open(&attacked.instance.api, 1000).await;
    connection.send(&h2::get(1, "/openapi.json")).await;
    let mut body = Vec::new();
    while let Some(frame) = connection.read().await {
        let last = frame.ends(1);
        if frame.kind == h2::DATA {
            body.extend(&frame.payload);
            connection.send(&h2::window_update(1, frame.payload.len() as u32)).await;
        }
        if last {
            break;
        }
    }
    assert_eq!(String::from_utf8(body).unwrap(), whole);
}
