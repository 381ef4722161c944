//! Text that models and prompts brought, made safe for a terminal and cut to its width.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Replaces everything that could drive a terminal or reorder its text by visible stand-ins; new lines
/// and tabs stay. Escape sequences are shown, not obeyed: ESC becomes `␛`.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| stand_in(c).is_some()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| stand_in(c).unwrap_or(c)).collect())
}

/// What is shown in place of a character that a terminal would act on.
fn stand_in(c: char) -> Option<char> {
    match c {
        '\n' | '\t' => None,
        // The block "Control Pictures" holds a picture of each of the first 32 characters, in order.
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)),
        '\x7f' => Some('␡'),
        // The second set of controls, where 0x9B alone begins an escape sequence.
        '\u{80}'..='\u{9f}' => Some('\u{fffd}'),
        // Marks, embeddings, overrides and isolates of direction; line and paragraph separators.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Some('\u{fffd}')
        }
        '\u{2028}' | '\u{2029}' => Some('\u{fffd}'),
        _ => None,
    }
}

/// A count with what is counted: `1 row`, `2 rows`.
pub fn plural(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// The text on one line, white space squeezed, at most `width` columns wide; `…` ends what was cut.
pub fn excerpt(text: &str, width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        // A line much longer than the terminal need not be made whole before it is cut.
        if used > width {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
            used += 1;
        }
        for cluster in word.graphemes(true).take(width.saturating_add(1)) {
            used += cluster.width();
            line.push_str(cluster);
        }
    }
    fit(&sanitize(&line), width)
}

/// Cuts one line to at most `width` columns; `…` ends what was cut.
pub fn fit(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1; // the ellipsis
    for cluster in line.graphemes(true) {
        used += cluster.width();
        if used > width {
            break;
        }
        cut.push_str(cluster);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// The line with spaces after it, up to `width` columns.
pub fn pad(line: &str, width: usize) -> String {
    let missing = width.saturating_sub(line.width());
    format!("{line}{}", " ".repeat(missing))
}

/// The width of the terminal that stdout is, in columns; `None` when it is none.
pub fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout())
        .map(|(terminal_size::Width(columns), _)| usize::from(columns))
        .filter(|columns| *columns > 0)
}

/// A table with a header, columns as wide as they need to be. Cells are sanitised and kept on one line.
pub struct Table {
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with the given column titles; a title that begins with `>` has its column set to the right.
    pub fn new(titles: &[&str]) -> Self {
        let bare = titles.iter().map(|title| title.trim_start_matches('>'));
        Self {
            right: titles.iter().map(|title| title.starts_with('>')).collect(),
            rows: vec![bare.map(str::to_owned).collect()],
        }
    }

    /// Adds a row, one cell a column.
    pub fn row(&mut self, cells: Vec<String>) {
        let clean = cells.iter().map(|cell| excerpt(cell, usize::MAX));
        self.rows.push(clean.collect());
    }

    /// The header and the rows as lines at most `width` columns wide.
    pub fn lines(&self, width: Option<usize>) -> Vec<String> {
        let widths: Vec<usize> = (0..self.right.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.right);
            let cells = cells.map(|((cell, width), right)| {
                let space = " ".repeat(width.saturating_sub(cell.width()));
                if *right {
                    format!("{space}{cell}")
                } else {
                    format!("{cell}{space}")
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            fit(line.trim_end(), width.unwrap_or(usize::MAX))
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        let text = sanitize("a\x1b[31mred\x07\r\u{9b}2J\u{202e}b\x7f");
        assert_eq!(text, "a␛[31mred␇␍\u{fffd}2J\u{fffd}b␡");
        assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn clean_text_is_not_copied() {
        assert!(matches!(sanitize("a\n\tb é 漢"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_excerpt_is_one_line_of_the_given_width() {
        assert_eq!(excerpt("  one\n two\t three ", 40), "one two three");
        assert_eq!(excerpt("one two three", 8), "one two…");
        assert_eq!(excerpt("漢字漢字", 5), "漢字…");
        assert_eq!(excerpt("漢字漢字", 4), "漢…");
        assert_eq!(excerpt("abc", 0), "");
        assert_eq!(excerpt("a\x1b[2Kb", 20), "a␛[2Kb");
        assert!(excerpt(&"word ".repeat(100_000), 30).width() <= 30);
        assert!(excerpt(&"x".repeat(100_000), 30).width() <= 30);
    }

    #[test]
    fn padding_counts_columns_and_not_bytes() {
        assert_eq!(pad("漢", 4), "漢  ");
        assert_eq!(pad("long", 2), "long");
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let mut table = Table::new(&["NAME", ">COUNT"]);
        table.row(vec!["漢字\n\x1b[2J".to_owned(), "7".to_owned()]);
        assert_eq!(table.lines(None), ["NAME       COUNT", "漢字 ␛[2J      7"]);
        assert_eq!(table.lines(Some(6)), ["NAME …", "漢字 …"]);
    }
}
