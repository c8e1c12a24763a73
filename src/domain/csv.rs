//! CSV as RFC 4180 has it, read a piece at a time. A record is cut out as it stands in the file
//! before anything is made of it, so that a bad one can be shown, its line and place are known,
//! and a quote that nobody closes is seen: what libraries read as one long field.

use std::borrow::Cow;

/// A record, without the end of its line.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// On which it begins, from 1.
    pub line: u64,
    pub raw: &'a [u8],
}

/// From here on the file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    UnclosedQuote { line: u64 },
    TooLong { line: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// A quote within quotes: the end of the field, or the first half of a quote.
    QuoteInQuoted,
}

/// Cuts records out of what it is fed.
pub struct Records {
    buffer: Vec<u8>,
    /// Where the present record begins in `buffer`, and how far it has been looked at.
    start: usize,
    scanned: usize,
    state: State,
    /// Lines that ended within the present record.
    lines: u64,
    place: Place,
    longest: usize,
    ended: bool,
}

/// Where a record begins: reading can go on from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    pub line: u64,
}

impl Records {
    /// From a place where a record begins. No record has more than `longest` bytes.
    pub fn from(place: Place, longest: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            state: State::FieldStart,
            lines: 0,
            place,
            longest,
            ended: false,
        }
    }

    /// Of the first record that has not been handed out.
    pub fn place(&self) -> Place {
        self.place
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing more will be fed.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next record; `None` when more has to be fed, or, after the end, when there is none.
    /// Empty lines are passed over.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, Broken> {
        loop {
            let Some(end) = self.scan()? else { return self.last() };
            let (from, place) = (self.start, self.place);
            self.step_over(end + 1);
            let raw = trim_return(&self.buffer[from..end]);
            if !raw.is_empty() {
                // The borrow of an early return does not end here for the compiler.
                let to = from + raw.len();
                return Ok(Some(Record { line: place.line, raw: &self.buffer[from..to] }));
            }
        }
    }

    /// The end of the present record, when it is there.
    fn scan(&mut self) -> Result<Option<usize>, Broken> {
        while self.scanned < self.buffer.len() {
            let byte = self.buffer[self.scanned];
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::QuoteInQuoted,
                (State::Quoted, b'\n') => {
                    self.lines += 1;
                    State::Quoted
                }
                (State::Quoted, _) => State::Quoted,
                (_, b'\n') => {
                    self.within(self.scanned)?;
                    return Ok(Some(self.scanned));
                }
                (_, b',') => State::FieldStart,
                (State::FieldStart | State::QuoteInQuoted, b'"') => State::Quoted,
                _ => State::Plain,
            };
            self.scanned += 1;
        }
        self.within(self.scanned)?;
        Ok(None)
    }

    fn within(&self, end: usize) -> Result<(), Broken> {
        match end - self.start > self.longest {
            true => Err(Broken::TooLong { line: self.place.line }),
            false => Ok(()),
        }
    }

    fn step_over(&mut self, end: usize) {
        self.place.offset += (end - self.start) as u64;
        self.place.line += self.lines + 1;
        (self.start, self.scanned) = (end, end);
        (self.state, self.lines) = (State::FieldStart, 0);
    }

    /// A file may end without the end of a line.
    fn last(&mut self) -> Result<Option<Record<'_>>, Broken> {
        let (from, end) = (self.start, self.buffer.len());
        if !self.ended || from == end {
            return Ok(None);
        }
        let line = self.place.line;
        if self.state == State::Quoted {
            return Err(Broken::UnclosedQuote { line });
        }
        self.step_over(end);
        let raw = trim_return(&self.buffer[from..]);
        Ok((!raw.is_empty()).then_some(Record { line, raw }))
    }
}

fn trim_return(raw: &[u8]) -> &[u8] {
    raw.strip_suffix(b"\r").unwrap_or(raw)
}

/// The fields of a record; `None` when something follows a closing quote, or one is not closed.
pub fn fields(record: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut fields = Vec::with_capacity(8);
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..end]), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// The field up to its closing quote, and what follows that.
fn unquote(quoted: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut text = Cow::Borrowed("");
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        let (part, after) = (&rest[..end], &rest[end + 1..]);
        match after.strip_prefix('"') {
            Some(next) => {
                text.to_mut().push_str(part);
                text.to_mut().push('"');
                rest = next;
            }
            None if text.is_empty() => return Some((Cow::Borrowed(part), after)),
            None => {
                text.to_mut().push_str(part);
                return Some((text, after));
            }
        }
    }
}

/// What spreadsheets take for the beginning of a formula; some read wide signs as well.
const FORMULAS: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠'];

fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(FORMULAS)
}

/// Writes one field. What a spreadsheet would run as a formula gets a `'` in front.
pub fn write_field(text: &str, out: &mut Vec<u8>) {
    let guarded = is_formula(text);
    if !guarded && !text.contains(['"', ',', '\n', '\r']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    if guarded {
        out.push(b'\'');
    }
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

pub fn write_record(fields: &[&str], out: &mut Vec<u8>) {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_field(field, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Takes back the `'` that [`write_field`] puts in front of formulas, and no other.
pub fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if is_formula(text) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Place = Place { offset: 0, line: 1 };

    fn all(text: &[u8], piece: usize) -> (Vec<(u64, String)>, Option<Broken>, Place) {
        let mut records = Records::from(START, 40);
        let (mut found, mut pieces) = (Vec::new(), text.chunks(piece));
        loop {
            match records.next_record() {
                Ok(Some(record)) => {
                    found.push((record.line, String::from_utf8_lossy(record.raw).into_owned()));
                }
                Err(broken) => return (found, Some(broken), records.place()),
                Ok(None) => match pieces.next() {
                    Some(piece) => records.feed(piece),
                    None if records.ended => return (found, None, records.place()),
                    None => records.end(),
                },
            }
        }
    }

    #[test]
    fn records_are_the_same_however_the_file_is_cut_into_pieces() {
        let text = b"a,b\r\n\r\n\"x\ny\",\"say \"\"hi\"\"\"\nplain \"quote\",2\n\n\"\",\nlast";
        let whole = all(text, text.len());
        let records: Vec<_> = whole.0.iter().map(|(line, raw)| (*line, raw.as_str())).collect();
        assert_eq!(
            records,
            [
                (1, "a,b"),
                (3, "\"x\ny\",\"say \"\"hi\"\"\""),
                (5, "plain \"quote\",2"),
                (7, "\"\","),
                (8, "last"),
            ]
        );
        assert_eq!(whole.2.offset, text.len() as u64);
        for piece in 1..text.len() {
            assert_eq!(all(text, piece), whole, "in pieces of {piece}");
        }
    }

    #[test]
    fn reading_goes_on_from_the_place_of_any_record() {
        let text = b"a\n\"b\nc\"\nd\r\n\ne";
        let mut records = Records::from(START, 40);
        records.feed(text);
        while records.next_record().unwrap().is_some() {
            let place = records.place();
            let mut resumed = Records::from(place, 40);
            resumed.feed(&text[place.offset as usize..]);
            resumed.end();
            let expected = all(text, 1).0.into_iter().find(|(line, _)| *line >= place.line);
            let next = resumed.next_record().unwrap();
            let next = next.map(|r| (r.line, String::from_utf8_lossy(r.raw).into_owned()));
            assert_eq!(next, expected);
        }
    }

    #[test]
    fn what_never_ends_is_broken_and_bounded() {
        assert_eq!(all(b"a\n\"b,c\nd\n", 3).1, Some(Broken::UnclosedQuote { line: 2 }));
        for long in [[b'x'; 1000], [b'"'; 1000]] {
            let mut records = Records::from(START, 40);
            let fed = long.iter().position(|byte| {
                records.feed(&[*byte]);
                records.next_record().is_err()
            });
            assert_eq!(fed, Some(40), "the first byte too many ends it");
        }
        assert_eq!(all(&[b'x'; 1000], 1000).1, Some(Broken::TooLong { line: 1 }));
    }

    #[test]
    fn quotes_are_taken_off_and_what_follows_them_is_refused() {
        let read = |text: &str| {
            fields(text).map(|all| all.iter().map(|f| f.to_string()).collect::<Vec<_>>())
        };
        let some = |all: &[&str]| Some(all.iter().map(|f| f.to_string()).collect::<Vec<_>>());
        assert_eq!(read("a,,\"b,\"\"c\"\"\",\"\""), some(&["a", "", "b,\"c\"", ""]));
        assert_eq!(read("5\" pipe,\"\"\"\"\"\""), some(&["5\" pipe", "\"\""]));
        assert_eq!(read("a,"), some(&["a", ""]));
        for wrong in ["\"a\"b", "\"a", "x,\"a\" ,y", "\""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn formulas_are_defused_and_what_was_written_is_read_back() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@x",
            "\tx",
            "\rx",
            "\0x",
            "\nx",
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "'=1",
            "''@",
            "'",
            "'quoted'",
            "plain",
            "a,b",
            "say \"hi\"",
            "two\nlines",
            "",
            " =1",
        ] {
            let mut out = Vec::new();
            write_field(text, &mut out);
            let written = String::from_utf8(out).unwrap();
            let inner = written.trim_start_matches('"');
            assert!(!inner.starts_with(FORMULAS), "{written:?}");
            let read = fields(&written).unwrap();
            assert_eq!((read.len(), unguarded(&read[0])), (1, text));
        }
    }
}
