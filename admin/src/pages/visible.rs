//! How a value is written into a page: as text, whatever it holds.
//!
//! Much of what pages show was written by strangers: User-Agents, Call-IDs, names. Markup is escaped, and characters
//! that act without being seen (controls, those that turn the direction of writing, those of no width) are written as
//! their code point, so that what an operator reads is what was sent.

use std::fmt;

use askama::filters::Escaper;

/// The escaper of all templates.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: fmt::Write>(&self, mut out: W, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, char) in text.char_indices() {
            if !is_special(char) {
                continue;
            }
            out.write_str(&text[plain..at])?;
            write_special(&mut out, char)?;
            plain = at + char.len_utf8();
        }
        out.write_str(&text[plain..])
    }

    fn write_escaped_char<W: fmt::Write>(&self, mut out: W, char: char) -> fmt::Result {
        if is_special(char) { write_special(&mut out, char) } else { out.write_char(char) }
    }
}

fn is_special(char: char) -> bool {
    matches!(char, '<' | '>' | '&' | '"' | '\'') || acts_unseen(char)
}

/// Whether a reader would not see it, or see something else because of it. Line breaks and tabs are ordinary: whatever
/// shows several lines shows them.
pub(crate) fn acts_unseen(char: char) -> bool {
    (char.is_control() && !matches!(char, '\n' | '\t'))
        || matches!(
            char,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

fn write_special(out: &mut impl fmt::Write, char: char) -> fmt::Result {
    match char {
        '<' => out.write_str("&lt;"),
        '>' => out.write_str("&gt;"),
        '&' => out.write_str("&amp;"),
        '"' => out.write_str("&quot;"),
        '\'' => out.write_str("&#39;"),
        unseen => write!(out, "\u{27e8}U+{:04X}\u{27e9}", u32::from(unseen)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        Visible.write_escaped_str(&mut out, text).expect("a string takes it");
        out
    }

    #[test]
    fn markup_is_text_and_what_acts_unseen_is_seen() {
        assert_eq!(escaped("<b a=\"x\" b='y'>&amp;"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;");
        assert_eq!(escaped("a\u{202e}txt.exe\u{0}\u{200b}\u{7f}"), "a⟨U+202E⟩txt.exe⟨U+0000⟩⟨U+200B⟩⟨U+007F⟩");
        assert_eq!(escaped("会議室 1\tà côté\n"), "会議室 1\tà côté\n");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            let out = escaped(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            prop_assert!(!out.chars().any(acts_unseen));
            let single: String = text.chars().map(|char| escaped(&char.to_string())).collect();
            prop_assert_eq!(out, single);
        }
    }
}
