//! Bodies, coming and going.
//!
//! A request's body as it comes from the client: it must keep coming, and when nobody wants the
//! rest of it, a bounded part is read all the same, so that the client sees its answer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::activity::Working;
use crate::middleware::body_limit::TooSlow;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a client must send per second, after the grace.
const RATE: u64 = 1024;
/// How much of an unwanted body is read, and for how long.
const DRAIN_BYTES: u64 = 4 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How much of an HTTP/2 answer waits for the client's window.
const PIECE: usize = 16 * 1024;

pub struct TimedBody {
    /// Taken when it is drained.
    inner: Option<Incoming>,
    began: Instant,
    grace: Duration,
    received: u64,
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl TimedBody {
    pub fn new(inner: Incoming, grace: Duration) -> Self {
        let ended = inner.is_end_stream();
        Self { inner: Some(inner), began: Instant::now(), grace, received: 0, timer: None, ended }
    }

    /// Every kibibyte buys a second.
    fn deadline(&self) -> Instant {
        self.began + self.grace + Duration::from_millis(self.received * 1000 / RATE)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                self.ended = true;
                Poll::Ready(end.map(|result| result.map_err(Into::into)))
            }
            Poll::Pending => {
                ready!(self.poll_timer(cx));
                self.ended = true;
                Poll::Ready(Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        let rest = self.inner.take().filter(|inner| !self.ended && !inner.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(timeout(DRAIN_TIME, drain(rest)));
        }
    }
}

/// A client that is still sending would otherwise meet a reset before it reads the answer.
async fn drain(mut rest: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > DRAIN_BYTES {
            return;
        }
    }
}

/// An answer's body, and with it the knowledge that its request is under way.
pub struct Outgoing {
    body: axum::body::Body,
    working: Working,
    /// By this the client's progress is known, where the connection does not show it.
    answer: u64,
    /// What is not handed out yet of a large frame.
    rest: Bytes,
}

impl Outgoing {
    pub fn new(body: axum::body::Body, mut working: Working, is_head: bool) -> Self {
        working.seen_through = is_head || body.is_end_stream();
        let answer = working.streams().new_answer();
        let outgoing = Self { body, working, answer, rest: Bytes::new() };
        outgoing.turn_of_client(!outgoing.working.seen_through);
        outgoing
    }

    fn turn_of_client(&self, is_theirs: bool) {
        let streams = self.working.streams();
        match is_theirs {
            _ if !self.working.multiplexed => {}
            true => streams.waits_for_client(self.answer),
            false => streams.waits_for_us(self.answer),
        }
    }

    /// In HTTP/2 a frame waits in memory until the client's window takes all of it, so it is
    /// handed out in pieces, and asking for the next one is progress.
    fn next_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            let piece = self.rest.split_to(PIECE.min(self.rest.len()));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let mut next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut next
            && let Some(data) = frame.data_mut().filter(|data| data.len() > PIECE)
            && self.working.multiplexed
        {
            self.rest = data.split_off(PIECE);
        }
        Poll::Ready(next)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = self.next_piece(cx);
        self.working.seen_through |= matches!(next, Poll::Ready(None)) || self.is_end_stream();
        self.turn_of_client(matches!(next, Poll::Ready(Some(_))));
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // It is asked for before the first frame, when there is no rest.
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.turn_of_client(false);
    }
}
