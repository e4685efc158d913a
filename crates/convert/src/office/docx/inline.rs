//! Letters of a paragraph.

/// Letters with what is said of them.
#[derive(Default)]
pub(super) struct Inline {
    pub(super) text: String,
    bold: bool,
    italic: bool,
}

impl Inline {
    /// Adds text; the marks stand outside of the blanks around it.
    pub(super) fn push(&mut self, text: &str, bold: bool, italic: bool) {
        if text.trim().is_empty() {
            self.text.push_str(text);
            return;
        }
        if (bold, italic) == (self.bold, self.italic) {
            self.text.push_str(text);
        } else {
            self.close();
            let blanks = text.len() - text.trim_start().len();
            self.text.push_str(&text[..blanks]);
            self.text.push_str(Self::marks(bold, italic));
            (self.bold, self.italic) = (bold, italic);
            self.text.push_str(&text[blanks..]);
        }
    }

    fn marks(bold: bool, italic: bool) -> &'static str {
        match (bold, italic) {
            (true, true) => "***",
            (true, false) => "**",
            (false, true) => "*",
            (false, false) => "",
        }
    }

    pub(super) fn close(&mut self) {
        let end = self.text.trim_end().len();
        self.text.insert_str(end, Self::marks(self.bold, self.italic));
        (self.bold, self.italic) = (false, false);
    }
}
