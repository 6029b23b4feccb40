//! The list of guest snapshots in all its renderings. Pure: rows in, a text out.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

/// A guest snapshot in JSON. The names are those of cv4pve-autosnap.
#[derive(Serialize, JsonSchema)]
pub struct SnapshotRow<'a> {
    /// The node of the guest.
    #[serde(rename = "NODE")]
    node: &'a str,
    /// The guest's number, as text.
    #[serde(rename = "VM")]
    vm: &'a str,
    /// When it was taken, in local time: YY/MM/DD HH:MM:SS.
    #[serde(rename = "TIME")]
    time: &'a str,
    /// The snapshot before it, or `no-parent`.
    #[serde(rename = "PARENT")]
    parent: &'a str,
    /// Its name.
    #[serde(rename = "NAME")]
    name: &'a str,
    /// Its description.
    #[serde(rename = "DESCRIPTION")]
    description: &'a str,
    /// X when it holds the guest's memory, too, else empty.
    #[serde(rename = "VM STATUS")]
    vm_status: &'a str,
}

/// The columns, which are the keys of the JSON, too. The names are those of cv4pve-autosnap.
pub const TITLES: [&str; 7] = ["NODE", "VM", "TIME", "PARENT", "NAME", "DESCRIPTION", "VM STATUS"];

/// How the list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A table of ASCII characters.
    Text,
    /// One JSON document in one line.
    Json,
    /// One JSON document in many lines.
    Jsonpretty,
    /// A table of Markdown.
    Markdown,
    /// A table of HTML.
    Html,
    /// A table with single lines.
    Unicode,
    /// A table with double lines.
    #[value(name = "unicodeAlt", alias = "unicodealt")]
    UnicodeAlt,
}

/// One snapshot, a text for each column.
pub type Row = [String; 7];

/// Prints rows in a form.
pub fn render(form: Form, rows: &[Row]) -> String {
    match form {
        Form::Text => boxed(rows, &ASCII),
        Form::Unicode => boxed(rows, &SINGLE),
        Form::UnicodeAlt => boxed(rows, &DOUBLE),
        Form::Json => text(serde_json::to_string(&document(rows))),
        Form::Jsonpretty => text(serde_json::to_string_pretty(&document(rows))),
        Form::Markdown => markdown(rows),
        Form::Html => html(rows),
    }
}

/// Horizontal, vertical, then the crossings of the top, middle and bottom rule.
struct Lines {
    horizontal: char,
    vertical: char,
    rules: [[char; 3]; 3],
}

const ASCII: Lines = Lines { horizontal: '-', vertical: '|', rules: [['+', '+', '+']; 3] };
const SINGLE: Lines = Lines {
    horizontal: '─',
    vertical: '│',
    rules: [['┌', '┬', '┐'], ['├', '┼', '┤'], ['└', '┴', '┘']],
};
const DOUBLE: Lines = Lines {
    horizontal: '═',
    vertical: '║',
    rules: [['╔', '╦', '╗'], ['╠', '╬', '╣'], ['╚', '╩', '╝']],
};

fn titles() -> Row {
    TITLES.map(str::to_owned)
}

fn boxed(rows: &[Row], lines: &Lines) -> String {
    // A newline in a description would tear the table apart.
    let flat =
        |row: &Row| row.clone().map(|cell| cell.replace(['\r', '\n', '\t'], " ").trim().to_owned());
    let rows: Vec<Row> = rows.iter().map(flat).collect();
    let titles = titles();
    let width = |at: usize| {
        rows.iter().chain([&titles]).map(|row| row[at].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    let rule = |[left, middle, right]: [char; 3]| {
        let parts: Vec<String> =
            widths.iter().map(|width| lines.horizontal.to_string().repeat(width + 2)).collect();
        format!("{left}{}{right}\n", parts.join(&middle.to_string()))
    };
    let line = |row: &Row| {
        let cell = |(cell, width): (&String, &usize)| format!(" {cell:<width$} ");
        let cells: Vec<String> = row.iter().zip(&widths).map(cell).collect();
        let v = lines.vertical;
        format!("{v}{}{v}\n", cells.join(&v.to_string()))
    };
    let body: String = rows.iter().map(line).collect();
    let [top, middle, bottom] = lines.rules;
    format!("{}{}{}{body}{}", rule(top), line(&titles), rule(middle), rule(bottom))
}

fn document(rows: &[Row]) -> Vec<SnapshotRow<'_>> {
    rows.iter().map(object).collect()
}

fn object([node, vm, time, parent, name, description, vm_status]: &Row) -> SnapshotRow<'_> {
    SnapshotRow { node, vm, time, parent, name, description, vm_status }
}

/// Texts always have a JSON form.
fn text(document: serde_json::Result<String>) -> String {
    document.unwrap_or_default() + "\n"
}

fn markdown(rows: &[Row]) -> String {
    let escaped =
        |cell: &String| cell.replace('\\', "\\\\").replace('|', "\\|").replace(['\r', '\n'], " ");
    let line = |row: &Row| {
        let cells: Vec<String> = row.iter().map(escaped).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = TITLES.map(|_| "---".to_owned());
    let body: String = rows.iter().map(line).collect();
    format!("{}{}{body}", line(&titles()), line(&rule))
}

fn html(rows: &[Row]) -> String {
    let escaped = |cell: &String| {
        let pairs =
            [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
        pairs.iter().fold(cell.clone(), |text, (from, to)| text.replace(*from, to))
    };
    let line = |row: &Row, tag: &str| {
        let cells = row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("  <tr>{}</tr>\n", cells.collect::<String>())
    };
    let body: String = rows.iter().map(|row| line(row, "td")).collect();
    format!("<table>\n{}{body}</table>\n", line(&titles(), "th"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn row() -> Row {
        ["pve1", "100", "t", "no-parent", "a", "<b> & \"c\" | d\ne", ""].map(str::to_owned)
    }

    #[test]
    fn every_table_is_as_wide_as_its_cells_and_has_one_line_a_row() {
        for (form, first, cross) in
            [(Form::Text, '+', '+'), (Form::Unicode, '┌', '┬'), (Form::UnicodeAlt, '╔', '╦')]
        {
            let text = render(form, &[row(), row()]);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 6, "{text}");
            let width = lines[0].chars().count();
            assert!(lines.iter().all(|line| line.chars().count() == width), "{text}");
            assert!(lines[0].starts_with(first) && lines[0].contains(cross), "{text}");
        }
    }

    #[test]
    fn what_a_person_wrote_cannot_break_the_document() {
        let html = render(Form::Html, &[row()]);
        assert!(html.contains("<td>&lt;b&gt; &amp; &quot;c&quot; | d\ne</td>"), "{html}");
        let markdown = render(Form::Markdown, &[row()]);
        assert_eq!(markdown.lines().count(), 3, "{markdown}");
        assert!(markdown.contains("\\| d e"), "{markdown}");
        let json: Value = serde_json::from_str(&render(Form::Json, &[row()])).unwrap();
        assert_eq!(json[0]["DESCRIPTION"], "<b> & \"c\" | d\ne");
        assert_eq!(render(Form::Json, &[]), "[]\n");
        let keys: Vec<&str> = json[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, TITLES);
    }
}
