//! Writes the log from a thread of its own, so that whoever logs never waits for the pipe: lines
//! are appended to a bounded buffer, and what does not fit any more is dropped and counted.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Write},
    mem,
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::metrics as names;

/// About ten thousand lines.
const CAPACITY: usize = 4 * 1024 * 1024;
/// After a write. Lines that come meanwhile leave together: a busy service pays one wake-up and
/// one write for many of them.
const REST: Duration = Duration::from_millis(2);

/// A handle; clones append to the same buffer.
#[derive(Clone)]
pub struct LineWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// All is written.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    writing: bool,
}

impl LineWriter {
    /// Writes to a descriptor of its own for standard error: the lock of `io::stderr` would be
    /// held by a write that hangs, and with it whoever prints.
    pub fn to_stderr() -> io::Result<Self> {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Self::start(File::from(stderr))
    }

    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let writer = Self(Arc::default());
        let shared = writer.0.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all_to(out))?;
        Ok(writer)
    }

    /// Waits until what was logged so far is written, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| state.writing || !state.buffer.is_empty();
        drop(self.0.drained.wait_timeout_while(self.0.lock(), patience, busy));
    }

    pub fn append(&self, line: &[u8]) {
        let mut state = self.0.lock();
        if state.buffer.len() + line.len() > CAPACITY {
            drop(state);
            return metrics::counter!(names::LOG_DROPPED).increment(1);
        }
        let idle = state.buffer.is_empty();
        state.buffer.extend_from_slice(line);
        drop(state);
        if idle {
            self.0.filled.notify_one();
        }
    }
}

impl Shared {
    fn write_all_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            self.next(&mut batch);
            // Nobody is left who could be told that the log cannot be written.
            let _ = out.write_all(&batch);
            batch.clear();
            let mut state = self.lock();
            state.writing = false;
            if state.buffer.is_empty() {
                self.drained.notify_all();
            }
            drop(state);
            thread::sleep(REST);
        }
    }

    /// Exchanges the empty batch for what waits.
    fn next(&self, batch: &mut Vec<u8>) {
        let state = self.lock();
        let waits = self.filled.wait_while(state, |state| state.buffer.is_empty());
        let mut state = waits.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.buffer, batch);
        state.writing = true;
    }

    /// The state is never half changed, so a poisoned lock guards a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// What the formatter writes one event to, whole.
pub struct Line<'a>(&'a LineWriter);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.append(&one_line(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes what JSON lets pass and other readers take for the end of a line or for a command to a
/// terminal: U+2028 and its like, and the control characters beyond ASCII.
pub fn one_line(line: &[u8]) -> Cow<'_, [u8]> {
    const DELETE: u8 = 0x7f;
    // Most lines, and each is looked at.
    if line.is_ascii() && !line.contains(&DELETE) {
        return Cow::Borrowed(line);
    }
    let Ok(text) = str::from_utf8(line) else { return Cow::Borrowed(line) };
    let harmful = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
    if !text.contains(harmful) {
        return Cow::Borrowed(line);
    }
    let escape = |c: char| match harmful(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect::<String>().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, channel},
        time::Instant,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Passes on what is written, each time after it was allowed to.
    struct Gate {
        allowed: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.allowed.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_whole_once_it_is_flushed() {
        let (allow, allowed) = channel();
        let written = Arc::default();
        let writer = LineWriter::start(Gate { allowed, written: Arc::clone(&written) }).unwrap();
        drop(allow);
        for number in 0..1000 {
            writer.make_writer().write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        writer.flush(10 * SECOND);
        let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        assert!(*written.lock().unwrap() == expected.as_bytes());
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_neither_whoever_logs_nor_the_end() {
        let (allow, allowed) = channel();
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let writer = LineWriter::start(Gate { allowed, written: written.clone() }).unwrap();
        let started = Instant::now();
        let line = [b'x'; 1000];
        for _ in 0..20_000 {
            writer.append(&line);
        }
        writer.flush(SECOND / 10);
        assert!(started.elapsed() < 3 * SECOND, "{:?}", started.elapsed());
        assert!(written.lock().unwrap().is_empty());
        drop(allow);
        writer.flush(10 * SECOND);
        let kept = written.lock().unwrap().len();
        println!("{kept} of 20000000 bytes were kept");
        assert!((CAPACITY - 1000..=2 * CAPACITY).contains(&kept));
    }

    #[test]
    fn what_other_readers_take_for_the_end_of_a_line_is_escaped() {
        let line = "{\"a\":\"é\u{2028}b\u{85}c\u{9b}d\u{7f}\"}";
        let escaped = one_line(line.as_bytes()).into_owned();
        assert_eq!(escaped, "{\"a\":\"é\\u2028b\\u0085c\\u009bd\\u007f\"}".as_bytes());
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&escaped).unwrap(),
            serde_json::from_str::<serde_json::Value>(line).unwrap()
        );
    }
}
