//! What other systems do for us: each a real provider and a local one, both settings, so that a
//! laptop and the tests run the same binary. Deadline, breaker and metrics are the adapter's.

pub mod mail;
