//! How many jobs of a queue run at once.

use super::{Raw, Value};
use crate::domain::jobs::Queue;
use std::fmt;

/// `default=16`: the queue and its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    pub queue: Queue,
    pub count: u32,
}

impl Value for Slots {
    fn parse(raw: &Raw) -> Result<Self, String> {
        let slots = raw.one()?.split_once('=').and_then(|(queue, count)| {
            let count = count.trim().parse().ok().filter(|count| (1..=1024).contains(count))?;
            Some(Self { queue: Queue::parse(queue.trim())?, count })
        });
        slots.ok_or_else(|| {
            let queues = Queue::ALL.map(Queue::as_str).join(", ");
            format!("must be a queue and its slots, from 1 to 1024, such as default=16; queues are {queues}")
        })
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.queue.as_str(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_and_its_slots_are_read() {
        let parse = |text: &str| Slots::parse(&Raw::Text(text.to_owned()));
        assert_eq!(parse("mail=8"), Ok(Slots { queue: Queue::Mail, count: 8 }));
        for wrong in ["mail", "mail=0", "mail=1025", "post=8", "=8", "mail=x", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
