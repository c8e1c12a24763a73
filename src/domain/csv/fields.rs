//! The fields of one record, read and written.

use std::borrow::Cow;

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
