//! The end by force: a second signal, or work that does not finish.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::support::{
    Api, Database, Instance,
    drain::{blocked_change, short},
    eventually,
    timing::kept,
    within,
};

/// Asks for much and reads nothing of it, so that an answer cannot be finished.
async fn ask_and_do_not_read(api: &Api) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = api.address().parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the instance listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    // Far more than the buffers of two sockets hold.
    stream.write_all(&request.repeat(3000)).await.expect("it reads");
    eventually("its answers are stuck", async || {
        let before = answers_given(api).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        answers_given(api).await == before + 1
    })
    .await;
    stream
}

/// Of `/metrics`, until now.
async fn answers_given(api: &Api) -> usize {
    let metrics = api.get("/metrics").await.expect(200).text;
    let counted = r#"http_requests_total{method="GET",route="/metrics",status="200"} "#;
    let count = metrics.lines().find_map(|line| line.strip_prefix(counted));
    count.map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_cut_off_at_the_shutdown_timeout_and_told_by_the_exit_code() {
    let database = Database::create().await;
    let settings = short(&database, "0s")
        .set("APP__DATABASE__LOCK_TIMEOUT", "600ms")
        .set("APP__DATABASE__STATEMENT_TIMEOUT", "700ms")
        .set("APP__SERVER__REQUEST_TIMEOUT", "1s")
        .set("APP__SERVER__HARD_TIMEOUT", "1500ms")
        .set("APP__SERVER__SHUTDOWN_TIMEOUT", "1500ms");
    let mut instance = Instance::ready(&settings).await;
    let _held = ask_and_do_not_read(&instance.api).await;
    let started = Instant::now();
    instance.signal("TERM");
    assert!(!instance.exit().await.success(), "it says that all went well");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1400), "it waited {took:?} only");
    kept("the end by force", took, Duration::from_millis(2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let database = Database::create().await;
    for drain_delay in ["0s", "5s"] {
        let mut instance = Instance::ready(&short(&database, drain_delay)).await;
        let tokens = instance.api.sign_in().await;
        let lock = database.lock("users").await;
        let change = blocked_change(&instance.api, &database, &tokens).await;
        instance.signal("TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(instance.exited().is_none());
        let started = Instant::now();
        instance.signal("TERM");
        assert!(!instance.exit().await.success());
        kept("the end after a second signal", started.elapsed(), Duration::from_millis(500));
        change.abort();
        within("its connections are gone", Duration::from_secs(1), async || {
            database.backends("true").await == 0
        })
        .await;
        lock.release().await;
    }
}
