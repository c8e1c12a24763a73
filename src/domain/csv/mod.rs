//! CSV as RFC 4180 has it, read a piece at a time. A record is cut out as it stands in the file
//! before anything is made of it, so that a bad one can be shown, its line and place are known,
//! and a quote that nobody closes is seen: what libraries read as one long field.

mod fields;

pub use fields::{fields, unguarded, write_field, write_record};

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
}
