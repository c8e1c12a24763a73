//! One JSON line per event (or pretty in development), to standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::work::StatementCounter;
use crate::{
    config::{Log, LogFormat},
    error::{Error, Result},
};

/// Installs the subscriber; a second call changes nothing, so tests may all call it.
pub fn install(config: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|_| Error::internal("log.filter (RUST_LOG) is not a filter"))?;
    // The filter is of the lines alone: statements are counted whatever is logged.
    let registry = tracing_subscriber::registry().with(StatementCounter::layer());
    let layer =
        fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let _ = match config.format {
        LogFormat::Json => {
            let json = layer.json().flatten_event(true);
            let json = json.with_current_span(false).with_span_list(false);
            registry.with(json.with_filter(filter)).try_init()
        }
        LogFormat::Pretty => registry.with(layer.compact().with_filter(filter)).try_init(),
    };
    Ok(())
}
