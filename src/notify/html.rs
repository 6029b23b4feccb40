//! The HTML part of a mail: the same content as the text, with all that comes from outside
//! escaped. Styles stand in the elements, as mail programs drop style sheets.

use super::facts::{Occasion, Verdict};
use super::text::{HEADINGS, WORDS, about, columns, rows, sections};
use crate::report::Report;
use std::fmt::Write as _;

const CELL: &str = "padding:4px 10px;border-bottom:1px solid #ddd;white-space:nowrap";

/// The report as a document.
pub fn document(occasion: &Occasion, report: &Report) -> String {
    let verdict = Verdict::of(report);
    let subject = escaped(&occasion.subject(report));
    let mut html = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{subject}</title></head>\n\
         <body style=\"font-family:sans-serif;font-size:14px;color:#222;margin:16px\">\n\
         <h1 style=\"font-size:17px;margin:0 0 8px;padding:8px 12px;color:#fff;background:{}\">{subject}</h1>\n\
         <p>{}</p>\n",
        colour(verdict),
        escaped(&about(occasion, report))
    );
    for (heading, entries) in sections(report) {
        let _ =
            writeln!(html, "<h2 style=\"font-size:15px;margin:16px 0 4px\">{heading}</h2>\n<ul>");
        for (who, what) in entries {
            let who = if who.is_empty() { who } else { format!("<b>{}</b>: ", escaped(&who)) };
            let _ = writeln!(html, "<li>{who}{}</li>", escaped(&what).replace('\n', "<br>"));
        }
        html.push_str("</ul>\n");
    }
    table(&mut html, report);
    html.push_str("</body></html>\n");
    html
}

fn table(html: &mut String, report: &Report) {
    let rows = rows(report);
    if rows.is_empty() {
        return;
    }
    html.push_str(
        "<table style=\"border-collapse:collapse;margin-top:16px;font-size:13px\">\n<tr>",
    );
    for (column, heading) in HEADINGS[columns(report)].iter().enumerate() {
        let _ =
            write!(html, "<th style=\"{CELL};{};background:#f2f2f2\">{heading}</th>", side(column));
    }
    html.push_str("</tr>\n");
    for row in rows {
        let shade = match row[3].as_str() {
            "FAILED" => "background:#fbe3e4",
            "PARTIAL" => "background:#fff0dc",
            _ => "",
        };
        let _ = write!(html, "<tr style=\"{shade}\">");
        for (column, cell) in row[columns(report)].iter().enumerate() {
            let _ = write!(html, "<td style=\"{CELL};{}\">{}</td>", side(column), escaped(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
}

fn side(column: usize) -> &'static str {
    if column < WORDS { "text-align:left" } else { "text-align:right" }
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "#2e7d32",
        Verdict::Warning => "#8a6d00",
        Verdict::Partial => "#b35900",
        Verdict::Failed => "#b3261e",
    }
}

/// Text that is no markup.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
