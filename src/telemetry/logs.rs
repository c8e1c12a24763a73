//! One JSON line per event (or pretty in development), to standard error.

use std::{
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::OnceLock,
    thread,
    time::Duration,
};

use chrono::{SecondsFormat, Utc};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::{line_writer::LineWriter, work::StatementCounter};
use crate::{
    config::{Log, LogFormat},
    error::{Error, Result},
};

/// How long the end of the process waits for whoever reads the log.
const LAST_FLUSH: Duration = Duration::from_secs(1);

static WRITER: OnceLock<LineWriter> = OnceLock::new();

/// Installs the subscriber; a second call changes nothing.
pub fn install(config: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|_| Error::internal("log.filter (RUST_LOG) is not a filter"))?;
    let writer = LineWriter::to_stderr().map_err(Error::internal)?;
    // The filter is of the lines alone: statements are counted whatever is logged.
    let registry = tracing_subscriber::registry().with(StatementCounter::layer());
    let lines = lines(config.format, writer.clone()).with_filter(filter);
    if registry.with(lines).try_init().is_ok() {
        let _ = WRITER.set(writer);
        let format = config.format;
        panic::set_hook(Box::new(move |panic| log_panic(panic, format)));
    }
    Ok(())
}

fn lines<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Json => {
            let json = layer.with_timer(Now).json().flatten_event(true);
            json.with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Pretty => layer.compact().boxed(),
    }
}

/// The machine's clock, written at once: the library's own lets its text grow piece by piece.
struct Now;

impl FormatTime for Now {
    #[expect(clippy::disallowed_methods, reason = "a line says when it was written")]
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        out.write_str(&Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

/// In place of text on standard error, which would break the log and wait for its reader.
fn log_panic(panic: &PanicHookInfo<'_>, format: LogFormat) {
    let place = panic.location().map(ToString::to_string);
    let thread = thread::current();
    let message = match format {
        LogFormat::Pretty => panic.payload_as_str().unwrap_or_default(),
        LogFormat::Json => super::plain_panic(panic.payload()),
    };
    tracing::error!(place, thread = thread.name(), panic = message, "panic");
}

/// What a command that failed says last: behind the log, or alone where there is none.
pub fn say(text: &str) {
    match WRITER.get() {
        Some(writer) => writer.append(format!("{text}\n").as_bytes()),
        None => drop(writeln!(io::stderr(), "{text}")),
    }
}

/// Before the process ends; bounded.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(LAST_FLUSH);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged while `work` runs.
    fn logged(format: LogFormat, work: impl FnOnce()) -> String {
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let target = written.clone();
        let lines = lines(format, move || Target(target.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    struct Target(Arc<Mutex<Vec<u8>>>);

    impl Write for Target {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(&super::super::line_writer::one_line(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const EVIL: &str =
        "a\r\nb\u{1b}[31mc\u{2028}d\u{2029}e\u{85}f\u{9b}g\0h\u{7f}\"}{\"level\":\"INFO\"";

    #[test]
    fn no_field_breaks_out_of_its_line() {
        let text = logged(LogFormat::Json, || {
            tracing::info!(text = EVIL, debug = ?EVIL, display = %EVIL, "{EVIL}");
        });
        let body = text.strip_suffix('\n').expect("an end of line");
        assert!(!body.contains(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c)));
        let line: serde_json::Value = serde_json::from_str(body).expect("one JSON value");
        assert_eq!((&line["text"], &line["message"]), (&EVIL.into(), &EVIL.into()));
        assert_eq!((&line["level"], &line["display"]), (&"INFO".into(), &EVIL.into()));
    }

    #[test]
    fn no_field_commands_the_terminal_of_a_developer() {
        // A `%field` would: what comes from outside is logged as text.
        let text =
            logged(LogFormat::Pretty, || tracing::info!(text = EVIL, debug = ?EVIL, "{EVIL}"));
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{2028}']), "{text:?}");
    }
}
