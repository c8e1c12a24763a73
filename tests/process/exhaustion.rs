//! Clients that take all there is to take: descriptors, connections, patience.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Api, Database, Instance, Settings, eventually, raw,
    timing::{kept, say},
    within,
};

const PING: &[u8] = b"GET /api/v1/ping HTTP/1.1\r\nHost: a\r\n\r\n";

/// Under `ulimit -n 256` with more clients than that.
#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_neither_spins_nor_dies_and_recovers() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("APP__SERVER__HEAD_TIMEOUT", "4s");
    let instance = Instance::start_limited(&settings, 256).await;
    instance.becomes_ready().await;
    let at_rest = instance.descriptors();
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(raw::connect(&instance.api).await);
    }
    eventually("descriptors are exhausted", async || {
        instance.log().contains("a connection could not be accepted")
    })
    .await;
    let (cpu, second) = (instance.cpu(), Duration::from_secs(1));
    tokio::time::sleep(second).await;
    let cpu = instance.cpu() - cpu;
    say(&format!("without descriptors it used {} ms of processors in a second", cpu.as_millis()));
    assert!(cpu < second / 4, "it spins: {cpu:?}");
    let complaints = instance.log().matches("a connection could not be accepted").count();
    assert!(complaints < 100, "{complaints} lines in the log");
    drop(silent);
    within("served after descriptors were exhausted", second, async || {
        is_served(&instance.api).await
    })
    .await;
    eventually("its descriptors are free again", async || instance.descriptors() <= at_rest + 16)
        .await;
    instance.api.get("/health/ready").await.expect(200);
}

async fn is_served(api: &Api) -> bool {
    let Ok(mut stream) = TcpStream::connect(api.address()).await else { return false };
    let mut answer = [0; 15];
    let exchange = async {
        stream.write_all(PING).await?;
        stream.read_exact(&mut answer).await
    };
    timeout(Duration::from_secs(1), exchange).await.is_ok_and(|read| read.is_ok())
        && answer.starts_with(b"HTTP/1.1 200")
}

/// How long 99 of 100 requests of somebody else take, one after the other.
async fn p99(api: &Api, requests: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..requests {
        let began = Instant::now();
        api.get("/api/v1/ping").await.expect(200);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[requests * 99 / 100]
}

/// Connections that send a byte of a head now and then.
async fn slowloris(api: &Api, count: usize) -> Vec<TcpStream> {
    let mut streams = idle(api, count).await;
    for stream in &mut streams {
        stream.write_all(b"GET /api/v1/ping HTTP/1.1\r\nHost: a\r\nX-").await.unwrap();
    }
    streams
}

async fn idle(api: &Api, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(raw::connect(api).await);
    }
    streams
}

async fn crowd(count: usize) {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("APP__SERVER__MAX_CONNECTIONS", "20000");
    let instance = Instance::start_limited(&settings, 2 * count as u64 + 512).await;
    instance.becomes_ready().await;
    let api = instance.api.clone();
    p99(&api, 100).await;
    let (quiet, rss) = (p99(&api, 500).await, instance.rss());
    let mut slow = slowloris(&api, count).await;
    let held = idle(&api, count).await;
    let dripping = tokio::spawn(async move {
        // One round takes about as long as the heads live.
        for byte in b"a: 1\r\n".iter().cycle().take(8) {
            for stream in &mut slow {
                let _ = stream.write_all(&[*byte]).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        slow
    });
    let crowded = p99(&api, 500).await;
    let grown = (instance.rss().saturating_sub(rss)) / 1024 / (2 * count as u64);
    say(&format!("{count} slow heads and {count} idle sockets: {grown} KiB each"));
    kept("99 of 100 answers beside them", crowded, (quiet * 3 / 2).max(Duration::from_millis(5)));
    assert!(grown <= 32, "{grown} KiB each");
    let mut slow = dripping.await.expect("the slow clients");
    let mut end = Vec::new();
    let closed = timeout(Duration::from_secs(40), slow[0].read_to_end(&mut end)).await;
    assert!(closed.is_ok(), "a head that trickles is still waited for");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_slow_and_idle_sockets_leaves_others_their_answers() {
    crowd(500).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "full size: make faults"]
async fn five_thousand_slow_and_five_thousand_idle_sockets_leave_others_their_answers() {
    crowd(5000).await;
}
