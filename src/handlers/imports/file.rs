//! An uploaded file as it comes: raw or as the part of a form, compressed or not. At no time is
//! more of it in memory than what has just come and a kibibyte of it inflated.

use std::{
    io::Write,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream, Bytes};
use flate2::write::MultiGzDecoder;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, header};
use multer::{Constraints, Field, Multipart};
use tokio::time::timeout;

use crate::{
    error::{Code, Error, Result},
    middleware::body_limit,
};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Compressed bytes that are inflated at once.
const BITE: usize = 1024;
/// What text of any kind never exceeds; a bomb inflates a thousandfold.
const MAX_RATIO: u64 = 200;
/// Below this the ratio is not looked at.
const RATIO_FROM: u64 = 4 << 20;
/// So much that inflates to less than half of it is no text: members without content, for ever.
const HOLLOW_FROM: u64 = 256 << 10;
/// What may come of a form before the file, and after it.
const MAX_WRAPPING: usize = 64 * 1024;

pub struct File {
    source: Source,
    coding: Coding,
    idle: Duration,
    /// What has come and is not decoded yet.
    rest: Bytes,
    /// What has been decoded.
    compressed: u64,
    inflated: u64,
}

enum Source {
    Raw(BodyDataStream),
    Form(Box<Form>),
    Ended,
}

struct Form {
    form: Multipart<'static>,
    file: Option<Field<'static>>,
    wrapping: Arc<AtomicUsize>,
}

enum Coding {
    /// Not enough has come to tell.
    Unknown,
    Plain,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
}

impl File {
    /// Refuses what is neither CSV, nor gzip, nor a form.
    pub fn open(headers: &HeaderMap, body: Body, idle: Duration) -> Result<Self> {
        let coding = coding(headers)?;
        let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.unwrap_or_default();
        let stream = body.into_data_stream();
        let name = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let source = match name.as_str() {
            "text/csv" if is_utf8(media) => Source::Raw(stream),
            "application/gzip" | "application/x-gzip" => Source::Raw(stream),
            // The coding would be the form's, not the file's.
            "multipart/form-data" if matches!(coding, Coding::Gzip(_)) => {
                let detail = "a form is not compressed as a whole; the file in it may be";
                return Err(Error::new(Code::UnsupportedMediaType, detail));
            }
            "multipart/form-data" => form(media, stream)?,
            _ => {
                let detail = "a file is text/csv in UTF-8, application/gzip or multipart/form-data";
                return Err(Error::new(Code::UnsupportedMediaType, detail));
            }
        };
        let rest = Bytes::new();
        Ok(Self { source, coding, idle, rest, compressed: 0, inflated: 0 })
    }

    /// Some more of the text; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.rest.is_empty() {
                let Some(bytes) = self.receive().await? else { return self.end() };
                self.rest = bytes;
            }
            if let Some(text) = self.decode().await?.filter(|text| !text.is_empty()) {
                return Ok(Some(text));
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        match timeout(self.idle, self.source.next()).await {
            Ok(next) => next,
            Err(_) => Err(Error::of(Code::BodyTooSlow)),
        }
    }

    /// `None` when more has to come first.
    async fn decode(&mut self) -> Result<Option<Bytes>> {
        if matches!(self.coding, Coding::Unknown) {
            while self.rest.len() < GZIP_MAGIC.len() {
                let Some(more) = self.receive().await? else { break };
                self.rest = [std::mem::take(&mut self.rest), more].concat().into();
            }
            self.coding = match self.rest.starts_with(&GZIP_MAGIC) {
                true => gzip(),
                false => Coding::Plain,
            };
        }
        let Coding::Gzip(decoder) = &mut self.coding else {
            return Ok(Some(std::mem::take(&mut self.rest)));
        };
        let bite = self.rest.split_to(self.rest.len().min(BITE));
        decoder.write_all(&bite).and_then(|()| decoder.flush()).map_err(|_| not_gzip())?;
        let text = std::mem::take(decoder.get_mut());
        self.compressed += bite.len() as u64;
        self.inflated += text.len() as u64;
        if self.compressed > HOLLOW_FROM && self.inflated < self.compressed / 2 {
            return Err(not_gzip());
        }
        if self.inflated > RATIO_FROM && self.inflated > self.compressed * MAX_RATIO {
            let detail = "the file inflates more than two hundredfold";
            return Err(Error::new(Code::PayloadTooLarge, detail));
        }
        Ok(Some(text.into()))
    }

    fn end(&mut self) -> Result<Option<Bytes>> {
        let Coding::Gzip(decoder) = &mut self.coding else { return Ok(None) };
        decoder.try_finish().map_err(|_| not_gzip())?;
        let text = std::mem::take(decoder.get_mut());
        self.coding = Coding::Plain;
        Ok(Some(text.into()).filter(|text: &Bytes| !text.is_empty()))
    }
}

fn gzip() -> Coding {
    Coding::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
}

fn not_gzip() -> Error {
    Error::new(Code::MalformedRequest, "the file is not whole, sound gzip")
}

fn coding(headers: &HeaderMap) -> Result<Coding> {
    match headers.get(header::CONTENT_ENCODING).map(|coding| coding.as_bytes()) {
        None | Some(b"identity") => Ok(Coding::Unknown),
        Some(b"gzip" | b"x-gzip") => Ok(gzip()),
        Some(_) => Err(Error::of(Code::UnsupportedMediaType)),
    }
}

fn is_utf8(media: &str) -> bool {
    let parameters = media.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.all(|(_, value)| {
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii")
    })
}

fn form(media: &str, stream: BodyDataStream) -> Result<Source> {
    let boundary = multer::parse_boundary(media)
        .map_err(|_| Error::new(Code::MalformedRequest, "the form has no boundary"))?;
    let wrapping = Arc::new(AtomicUsize::new(MAX_WRAPPING));
    let paced = Paced { inner: stream, pause: false, wrapping: wrapping.clone() };
    let constraints = Constraints::new().allowed_fields(vec!["file"]);
    let form = Multipart::with_constraints(paced, boundary, constraints);
    Ok(Source::Form(Box::new(Form { form, file: None, wrapping })))
}

impl Source {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Source::Ended => Ok(None),
            Source::Raw(stream) => match stream.next().await.transpose() {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(body_limit::refusal(&error)),
            },
            Source::Form(parts) => {
                let Form { form, file, wrapping } = &mut **parts;
                if file.is_none() {
                    let found = form.next_field().await.map_err(form_refusal)?;
                    let found = found.ok_or_else(missing_file)?;
                    wrapping.store(usize::MAX, Ordering::Relaxed);
                    *file = Some(found);
                }
                let Some(part) = file else { return Ok(None) };
                if let Some(bytes) = part.chunk().await.map_err(form_refusal)? {
                    return Ok(Some(bytes));
                }
                wrapping.store(MAX_WRAPPING, Ordering::Relaxed);
                *file = None;
                let more = form.next_field().await.map_err(form_refusal)?;
                let more = more.is_some();
                *self = Source::Ended;
                match more {
                    true => Err(Error::invalid_field("file", "repeated", "must be the only part")),
                    false => Ok(None),
                }
            }
        }
    }
}

fn missing_file() -> Error {
    Error::invalid_field("file", "required", "is missing")
}

fn form_refusal(error: multer::Error) -> Error {
    match error {
        multer::Error::UnknownField { field_name } => {
            let name = field_name.unwrap_or_default().chars().take(64).collect::<String>();
            Error::invalid_field(name, "unknown_field", "is not known here")
        }
        multer::Error::StreamReadFailed(cause) => match cause.downcast_ref::<Flooded>() {
            Some(_) => Error::new(Code::MalformedRequest, "the form is mostly wrapping"),
            None => body_limit::refusal(&*cause),
        },
        _ => Error::new(Code::MalformedRequest, "the form cannot be read"),
    }
}

/// The reader of forms takes all that is ready into memory, so each piece is followed by a moment
/// in which none is. What is no file is let through up to a bound.
struct Paced {
    inner: BodyDataStream,
    pause: bool,
    wrapping: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Flooded;

impl std::fmt::Display for Flooded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("more than a form's wrapping may take")
    }
}

impl std::error::Error for Flooded {}

impl Stream for Paced {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = std::task::ready!(self.inner.poll_next_unpin(cx));
        self.pause = true;
        let allowed = self.wrapping.load(Ordering::Relaxed);
        if allowed == 0 {
            return Poll::Ready(Some(Err(Flooded.into())));
        }
        if let (Some(Ok(bytes)), true) = (&next, allowed != usize::MAX) {
            self.wrapping.store(allowed.saturating_sub(bytes.len()), Ordering::Relaxed);
        }
        Poll::Ready(next.map(|result| result.map_err(Into::into)))
    }
}
