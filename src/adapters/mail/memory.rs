//! What was sent, for tests to read.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Content, Encoded};

/// The newest ones: a process that is left running must not grow.
const KEPT: usize = 1000;

#[derive(Default)]
pub struct Memory(Mutex<VecDeque<Sent>>);

#[derive(Debug, Clone)]
pub struct Sent {
    pub to: String,
    pub message_id: String,
    pub content: Content,
}

impl Memory {
    pub(super) fn keep(&self, message: Encoded) {
        let mut all = self.lock();
        all.truncate(KEPT - 1);
        let to = message.recipient();
        all.push_front(Sent { to, message_id: message.message_id, content: message.content });
    }

    /// To this address, oldest first.
    pub fn sent_to(&self, address: &str) -> Vec<Sent> {
        self.lock().iter().rev().filter(|sent| sent.to == address).cloned().collect()
    }

    /// Every change is one push, so a poisoned lock guards a whole list.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
