//! Connections between two uses.
//!
//! sqlx asks every connection that is given back whether it still lives: a round trip for each
//! use, which costs about as much as a row by its key. Here one whose work ended well waits a
//! moment for the next borrower instead, and the pool, to which it is still lent, hears of it once
//! a second.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

/// For so long a connection passes from borrower to borrower before the pool has it back, with
/// its limits of idleness and age.
const HOLD: Duration = Duration::from_secs(1);

/// A connection of a pool: dropped, it goes back there.
pub trait Pooled: Send + 'static {
    /// Closes it on the spot, without a word to the server.
    fn cut(self);

    /// Whether the server is heard through it, soon, and lets it write.
    fn is_of_use(&mut self) -> impl Future<Output = bool> + Send;
}

/// A connection, and since when the pool has not seen it.
pub struct Held<C> {
    pub conn: C,
    pub since: Instant,
}

impl<C> Held<C> {
    pub fn new(conn: C) -> Self {
        Self { conn, since: Instant::now() }
    }

    fn is_due(&self) -> bool {
        self.since.elapsed() >= HOLD
    }
}

pub struct Parked<C: Pooled>(Arc<Mutex<State<C>>>);

struct State<C: Pooled> {
    free: Vec<Held<C>>,
    /// Who asks the pool: as long as there is anybody, nothing is kept from it.
    waiting: usize,
    closed: bool,
}

/// Who asks the pool for a connection, because none is here.
pub struct Waiting<C: Pooled>(Parked<C>);

impl<C: Pooled> Clone for Parked<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Pooled> Parked<C> {
    /// Needs a runtime, as the pool itself does.
    pub fn new() -> Self {
        let state = State { free: Vec::new(), waiting: 0, closed: false };
        let parked = Self(Arc::new(Mutex::new(state)));
        tokio::spawn(give_back_in_time(Arc::downgrade(&parked.0)));
        parked
    }

    /// The connection that was used last. Whether there is one, and that somebody waits for the
    /// pool, is one step: else the last one could be parked while that somebody waits in vain.
    pub fn take(&self) -> Result<Held<C>, Waiting<C>> {
        let mut state = self.lock();
        let held = state.free.pop();
        if held.is_none() {
            state.waiting += 1;
        }
        held.ok_or_else(|| Waiting(self.clone()))
    }

    /// For a connection whose work ended well.
    pub fn park(&self, held: Held<C>) {
        let mut state = self.lock();
        if state.waiting == 0 && !state.closed && !held.is_due() {
            return state.free.push(held);
        }
        drop(state);
        drop(held);
    }

    pub fn len(&self) -> usize {
        self.lock().free.len()
    }

    /// Closes all that are here.
    pub fn cut(&self) {
        let free = std::mem::take(&mut self.lock().free);
        free.into_iter().for_each(|held| held.conn.cut());
    }

    /// Gives all of them back, and keeps none from now on.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let free = std::mem::take(&mut state.free);
        drop(state);
        drop(free);
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        lock(&self.0)
    }
}

impl<C: Pooled> Drop for Waiting<C> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

/// With the last handle goes the pool, and maybe the runtime, which giving back would need.
impl<C: Pooled> Drop for State<C> {
    fn drop(&mut self) {
        self.free.drain(..).for_each(|held| held.conn.cut());
    }
}

fn lock<C: Pooled>(state: &Mutex<State<C>>) -> MutexGuard<'_, State<C>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn give_back_in_time<C: Pooled>(parked: Weak<Mutex<State<C>>>) {
    loop {
        sleep(HOLD).await;
        let Some(state) = parked.upgrade() else { return };
        let due: Vec<_> = lock(&state).free.extract_if(.., |held| held.is_due()).collect();
        drop(state);
        join_all(due.into_iter().map(|held| give_back(held.conn))).await;
    }
}

/// The pool asks too, but only whether it lives, and waits for the answer for ever, and with it a
/// place in the pool.
async fn give_back<C: Pooled>(mut conn: C) {
    if !conn.is_of_use().await {
        conn.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[derive(Default)]
    struct Counts {
        given_back: AtomicUsize,
        cut: AtomicUsize,
    }

    struct Conn {
        counts: Option<Arc<Counts>>,
        useful: bool,
    }

    impl Pooled for Conn {
        fn cut(mut self) {
            self.counts.take().unwrap().cut.fetch_add(1, SeqCst);
        }

        async fn is_of_use(&mut self) -> bool {
            self.useful
        }
    }

    impl Drop for Conn {
        fn drop(&mut self) {
            if let Some(counts) = &self.counts {
                counts.given_back.fetch_add(1, SeqCst);
            }
        }
    }

    struct World {
        parked: Parked<Conn>,
        counts: Arc<Counts>,
    }

    impl World {
        fn new() -> Self {
            Self { parked: Parked::new(), counts: Arc::default() }
        }

        fn lent(&self, useful: bool) -> Held<Conn> {
            Held::new(Conn { counts: Some(self.counts.clone()), useful })
        }

        /// Here, given back, and cut.
        fn standing(&self) -> (usize, usize, usize) {
            let Counts { given_back, cut } = &*self.counts;
            (self.parked.len(), given_back.load(SeqCst), cut.load(SeqCst))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_passes_from_hand_to_hand_for_a_second() {
        let world = World::new();
        let mut held = world.lent(true);
        for _ in 0..9 {
            world.parked.park(held);
            sleep(HOLD / 10).await;
            held = world.parked.take().ok().unwrap();
        }
        assert_eq!(world.standing(), (0, 0, 0));
        sleep(HOLD / 10).await;
        world.parked.park(held);
        assert_eq!(world.standing(), (0, 1, 0), "its second is over");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_pool_is_kept_from_nothing() {
        let world = World::new();
        world.parked.park(world.lent(true));
        let held = world.parked.take().ok().unwrap();
        let waiting = world.parked.take().err().unwrap();
        world.parked.park(held);
        assert_eq!(world.standing(), (0, 1, 0));
        drop(waiting);
        world.parked.park(world.lent(true));
        assert_eq!(world.standing(), (1, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_and_the_pool_has_it_back_unless_it_is_dead() {
        let world = World::new();
        world.parked.park(world.lent(true));
        world.parked.park(world.lent(false));
        sleep(HOLD * 2).await;
        assert_eq!(world.standing(), (0, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn none_stays_after_the_end() {
        let world = World::new();
        world.parked.park(world.lent(true));
        world.parked.close();
        world.parked.park(world.lent(true));
        assert_eq!(world.standing(), (0, 2, 0));
        let world = World::new();
        world.parked.park(world.lent(true));
        let counts = world.counts.clone();
        drop(world);
        assert_eq!(counts.cut.load(SeqCst), 1, "there may be no runtime to give it back in");
    }
}
