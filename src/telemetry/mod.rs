//! Logs, metrics, traces, and what each piece of work spends.

use std::any::Any;

mod export;
mod line_writer;
pub mod logs;
pub mod metrics;
mod process;
pub mod runtime;
mod trace_context;
pub mod traces;
pub mod work;

/// The message of a panic where it is a constant. One that was put together may quote what a user
/// sent (a password that was sliced, an error that repeats its input); the place says enough.
pub fn plain_panic(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not a constant: withheld)")
}

#[cfg(test)]
mod tests {
    use super::plain_panic;

    #[test]
    fn a_panic_that_quotes_what_it_was_given_is_not_told() {
        let secret = "é-canary".to_owned();
        let quoting = std::panic::catch_unwind(|| secret[..1].len()).unwrap_err();
        assert_eq!(plain_panic(&*quoting), "(not a constant: withheld)");
        let constant = std::panic::catch_unwind(|| panic!("out of luck")).unwrap_err();
        assert_eq!(plain_panic(&*constant), "out of luck");
    }
}
