//! Text that people type and others read.

/// Controls, bidirectional marks, zero-width and other invisible characters: what makes a text
/// look like another one.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_deceives_and_letters_do_not() {
        for c in ['\0', '\n', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{85}'] {
            assert!(is_deceptive(c), "{c:?}");
        }
        for c in ['a', ' ', 'é', 'ж', '語', '\u{1f98a}', '\u{200d}'] {
            assert!(!is_deceptive(c), "{c:?}");
        }
    }
}
