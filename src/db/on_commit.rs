//! What happens after a transaction has committed, and only then: waking whoever waits for what
//! it wrote. A hint sent earlier would find nothing, and one that is sent by hand is forgotten.

use std::cell::RefCell;

type Hook = Box<dyn FnOnce() + Send>;

tokio::task_local! {
    static HOOKS: RefCell<Vec<Hook>>;
}

/// Runs after the surrounding transaction has committed, and never when it is rolled back.
/// Outside of one it runs at once. It must not block.
pub fn on_commit(hook: impl FnOnce() + Send + 'static) {
    let mut hook: Option<Hook> = Some(Box::new(hook));
    let _ = HOOKS.try_with(|hooks| hooks.borrow_mut().extend(hook.take()));
    if let Some(hook) = hook {
        hook();
    }
}

/// How many hooks the surrounding transaction has so far.
pub(super) fn count() -> usize {
    HOOKS.try_with(|hooks| hooks.borrow().len()).unwrap_or_default()
}

/// Forgets those that came after the first `kept`: what they were for was undone.
pub(super) fn forget_after(kept: usize) {
    let _ = HOOKS.try_with(|hooks| hooks.borrow_mut().truncate(kept));
}

/// Runs `transaction` and, when it has succeeded, what was asked for on the way.
pub(super) async fn with_hooks<T, E>(
    transaction: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    HOOKS
        .scope(RefCell::default(), async {
            let value = transaction.await?;
            for hook in HOOKS.with(RefCell::take) {
                hook();
            }
            Ok(value)
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    async fn run(result: Result<(), ()>) -> (u32, u32) {
        let count = Arc::new(AtomicU32::new(0));
        let seen = count.clone();
        let during = with_hooks(async {
            on_commit(move || {
                seen.fetch_add(1, Ordering::Relaxed);
            });
            result.map(|()| count.load(Ordering::Relaxed))
        })
        .await;
        (during.unwrap_or_default(), count.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_hook_runs_once_and_after_the_commit() {
        assert_eq!(run(Ok(())).await, (0, 1));
    }

    #[tokio::test]
    async fn a_rollback_forgets_its_hooks() {
        assert_eq!(run(Err(())).await, (0, 0));
    }

    #[tokio::test]
    async fn a_part_that_was_undone_takes_its_hooks_with_it() {
        let log: Arc<std::sync::Mutex<Vec<&str>>> = Arc::default();
        let hook = |word| {
            let log = log.clone();
            on_commit(move || log.lock().unwrap().push(word));
        };
        let transaction = with_hooks(async {
            hook("kept");
            let before = count();
            hook("undone");
            forget_after(before);
            hook("later");
            Ok::<(), ()>(())
        });
        transaction.await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["kept", "later"]);
    }

    #[tokio::test]
    async fn outside_of_a_transaction_a_hook_runs_at_once() {
        let ran = Arc::new(AtomicU32::new(0));
        let count = ran.clone();
        on_commit(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    }
}
