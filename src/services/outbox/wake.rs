//! Telling relays that something was committed. A hint that may be lost: they look by themselves.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::shared::bus::Bus;

/// The topic on which instances tell each other to look.
pub const TOPIC: &str = "outbox";
/// Of many commits the others hear once per so long.
const COALESCE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Wake {
    here: watch::Sender<u64>,
    others: Arc<Notify>,
}

impl Default for Wake {
    fn default() -> Self {
        Self { here: watch::Sender::new(0), others: Arc::default() }
    }
}

impl Wake {
    /// Never waits.
    pub fn all(&self) {
        self.here();
        self.others.notify_one();
    }

    fn here(&self) {
        self.here.send_modify(|commits| *commits = commits.wrapping_add(1));
    }

    /// Changes with every commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.here.subscribe()
    }

    /// Passes hints on to the other instances, and theirs on to this one. Runs until dropped.
    pub async fn run(self, bus: Bus) {
        tokio::join!(self.tell(&bus), self.listen(&bus));
    }

    async fn tell(&self, bus: &Bus) {
        loop {
            self.others.notified().await;
            bus.publish(TOPIC, "");
            sleep(COALESCE).await;
        }
    }

    async fn listen(&self, bus: &Bus) {
        let mut hints = bus.subscribe(TOPIC);
        // An error means that some were missed: it is one hint more.
        loop {
            let _ = hints.recv().await;
            self.here();
        }
    }
}
