//! Placeholder until the real one lands: local delivery only.
use crate::redis::Redis;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
#[derive(Clone)]
pub struct Bus(broadcast::Sender<String>, watch::Sender<u32>);
impl Bus {
    pub fn new(_: Option<Redis>, _: String) -> Self {
        Self(broadcast::channel(16).0, watch::channel(1).0)
    }
    pub fn publish(&self, _: &'static str, payload: &str) {
        let _ = self.0.send(payload.to_owned());
    }
    pub fn subscribe(&self, _: &'static str) -> broadcast::Receiver<String> {
        self.0.subscribe()
    }
    pub fn instances(&self) -> watch::Receiver<u32> {
        self.1.subscribe()
    }
    pub async fn run(&self, stop: CancellationToken) {
        stop.cancelled().await
    }
}
