//! Plain tables: columns as wide as their longest cell, numbers to the right. No colours.

use std::fmt::Write as _;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers and sizes.
    Right,
}

/// Renders rows under their headings, two blanks between columns, none at the ends of lines.
pub fn render(headings: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
        cells.chain([headings[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let titles = headings.iter().map(|(title, _)| (*title).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(headings) {
            // Writing to a string does not fail.
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_their_text_does() {
        let rows = vec![vec!["web".into(), "9".into()], vec!["ä".into(), "1000".into()]];
        let text = render(&[("NAME", Align::Left), ("SIZE", Align::Right)], &rows);
        assert_eq!(text, "NAME  SIZE\nweb      9\nä     1000\n");
    }
}
