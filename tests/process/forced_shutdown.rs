//! The end by force: a second signal, or work that does not finish.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{
    Api, Database, Instance, Person, Settings,
    command::create_user,
    drain::{blocked_change, short},
    eventually, raw,
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

/// Waits a second and a half for what is under way.
fn soon_over(database: &Database) -> Settings {
    short(database, "0s")
        .set("APP__DATABASE__LOCK_TIMEOUT", "600ms")
        .set("APP__DATABASE__STATEMENT_TIMEOUT", "700ms")
        .set("APP__SERVER__REQUEST_TIMEOUT", "1s")
        .set("APP__SERVER__HARD_TIMEOUT", "1500ms")
        .set("APP__SERVER__SHUTDOWN_TIMEOUT", "1500ms")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_cut_off_at_the_shutdown_timeout_and_told_by_the_exit_code() {
    let database = Database::create().await;
    let mut instance = Instance::ready(&soon_over(&database)).await;
    let _held = ask_and_do_not_read(&instance.api).await;
    let started = Instant::now();
    instance.signal("TERM");
    assert!(!instance.exit().await.success(), "it says that all went well");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1400), "it waited {took:?} only");
    kept("the end by force", took, Duration::from_millis(2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_takes_longer_is_told_so_and_its_key_is_free_for_another_instance() {
    const FILE: &str =
        "sku,name,description,category,price,currency,stock\r\nK-1,Knife,,a,1,EUR,1\r\n";
    let database = Database::create().await;
    let settings = soon_over(&database);
    let mut instance = Instance::ready(&settings).await;
    let staff = Person::new();
    create_user(&settings, "staff", &staff.email, &staff.password);
    let token = instance.api.login(&staff).await.access;
    let upload = |length: usize| {
        format!(
            "POST /api/v1/imports HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: text/csv\r\nIdempotency-Key: \"once\"\r\nContent-Length: {length}\r\n\r\n{FILE}"
        )
    };
    let mut slow = raw::connect(&instance.api).await;
    slow.write_all(upload(1_000_000).as_bytes()).await.expect("it reads");
    eventually("the file is on its way", async || {
        database.number("select count(*) from imports where state = 'uploading'").await == 1
    })
    .await;
    instance.signal("TERM");
    let mut answer = String::new();
    let answered = timeout(Duration::from_secs(5), slow.read_to_string(&mut answer)).await;
    answered.expect("the end comes").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("SHUTTING_DOWN") && answer.contains("retry-after: 1"), "{answer}");
    assert!(instance.exit().await.success(), "everybody had an answer");
    let other = Instance::ready(&settings).await;
    let mut again = raw::connect(&other.api).await;
    let answer = raw::exchange(&mut again, upload(FILE.len()).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
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
