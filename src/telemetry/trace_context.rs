//! `traceparent` of W3C Trace Context: what one process tells the next about the trace it works in.
//!
//! Read by hand, because the SDK takes ids of any length, and what is malformed must be ignored.
//! `tracestate` is not passed on, as the standard allows: nobody here adds to it, and what events
//! and jobs store is one short text.

use std::{fmt, str::FromStr};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub sampled: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl FromStr for TraceContext {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (version, rest) = text.split_at_checked(2).ok_or(Malformed)?;
        let version = hex(version, 2)?;
        let fields = rest.get(1..53).ok_or(Malformed)?;
        let more = &rest[53..];
        // Later versions may append fields; ours has none.
        let whole = more.is_empty() || (version != "00" && more.starts_with('-'));
        let mut parts = fields.split('-');
        let mut next = |length| hex(parts.next().unwrap_or_default(), length);
        let (trace, span, flags) = (next(32)?, next(16)?, next(2)?);
        let read = Self {
            trace_id: TraceId::from_hex(trace).map_err(|_| Malformed)?,
            span_id: SpanId::from_hex(span).map_err(|_| Malformed)?,
            sampled: u8::from_str_radix(flags, 16).map_err(|_| Malformed)? & 1 == 1,
        };
        let valid = read.trace_id != TraceId::INVALID && read.span_id != SpanId::INVALID;
        let framed = rest.starts_with('-') && version != "ff";
        (whole && valid && framed).then_some(read).ok_or(Malformed)
    }
}

/// Lower case and of this length.
fn hex(text: &str, length: usize) -> Result<&str, Malformed> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits && text.len() == length).then_some(text).ok_or(Malformed)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl From<&SpanContext> for TraceContext {
    fn from(span: &SpanContext) -> Self {
        Self { trace_id: span.trace_id(), span_id: span.span_id(), sampled: span.is_sampled() }
    }
}

impl TraceContext {
    pub(super) fn to_span_context(self, is_remote: bool) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        SpanContext::new(self.trace_id, self.span_id, flags, is_remote, TraceState::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in [GOOD, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"] {
            assert_eq!(text.parse::<TraceContext>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_flags_and_later_versions_are_read_as_far_as_they_are_known() {
        let good: TraceContext = GOOD.parse().unwrap();
        for text in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes",
        ] {
            assert_eq!(text.parse(), Ok(good), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for text in [
            "",
            "-",
            "00",
            "00-1-1-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
            "é0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(Malformed), "{text}");
        }
    }
}
