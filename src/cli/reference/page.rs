//! A page of the reference, as Markdown and as a man page. What stands on it is decided elsewhere.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// A page of section 5: a format.
pub struct Page {
    /// What it is about, as `jobs.cfg`; the man page has `pve-ferry-` before it.
    pub name: &'static str,
    /// The same in a few words.
    pub summary: &'static str,
    /// Its content.
    pub blocks: Vec<Block>,
}

/// A piece of a page.
pub enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Lines as they stand in a file.
    Lines(String),
    /// A list of things with what they may be and what they mean.
    Rows(Vec<Row>),
}

/// One thing of a list.
pub struct Row {
    /// What it is called.
    pub name: String,
    /// What it may be.
    pub kind: String,
    /// What it means.
    pub meaning: String,
}

impl Page {
    /// The page as Markdown, which a test keeps in `debian/`.
    #[cfg(test)]
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n", self.name, NOTE);
        for block in &self.blocks {
            text.push('\n');
            match block {
                Block::Heading(heading) => text.push_str(&format!("## {heading}\n")),
                Block::Text(content) => text.push_str(&format!("{content}\n")),
                Block::Lines(lines) => lines.lines().for_each(|line| {
                    let indented =
                        if line.is_empty() { String::new() } else { format!("    {line}") };
                    text.push_str(&format!("{indented}\n"));
                }),
                Block::Rows(rows) => text.push_str(&table(rows)),
            }
        }
        text
    }

    /// The page in the language of man.
    pub fn man(&self) -> String {
        let name = format!("pve-ferry-{}", self.name);
        let version = format!("pve-ferry {}", env!("CARGO_PKG_VERSION"));
        let mut roff = Roff::new();
        roff.control("TH", [name.to_uppercase().as_str(), "5", "", version.as_str()]);
        roff.control("SH", ["NAME"]);
        roff.text([roman(format!("{name} - {}", self.summary))]);
        if !matches!(self.blocks.first(), Some(Block::Heading(_))) {
            roff.control("SH", ["DESCRIPTION"]);
        }
        self.blocks.iter().for_each(|block| put(&mut roff, block));
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman("pve-ferry(8), /usr/share/doc/pve-ferry")]);
        roff.to_roff()
    }
}

#[cfg(test)]
const NOTE: &str =
    "<!-- Made of the schema by `UPDATE=1 cargo test --lib reference`; do not edit. -->";

/// A table, in which a bar of the text must not end a cell.
#[cfg(test)]
fn table(rows: &[Row]) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ");
    let mut text = String::from("| name | value | meaning |\n|---|---|---|\n");
    for row in rows {
        let (kind, meaning) = (cell(&row.kind), cell(&row.meaning));
        text.push_str(&format!("| `{}` | {kind} | {meaning} |\n", row.name));
    }
    text
}

fn put(roff: &mut Roff, block: &Block) {
    match block {
        Block::Heading(heading) => {
            roff.control("SH", [heading.to_uppercase().as_str()]);
        }
        Block::Text(text) => {
            roff.control("PP", []);
            roff.text(inline(text));
        }
        Block::Lines(lines) => {
            roff.control("PP", []);
            roff.control("RS", ["4"]);
            roff.control("nf", []);
            for line in lines.lines() {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
            roff.control("RE", []);
        }
        Block::Rows(rows) => rows.iter().for_each(|row| {
            roff.control("TP", []);
            roff.text([bold(row.name.as_str()), roman("  "), italic(row.kind.as_str())]);
            roff.text(inline(&row.meaning));
        }),
    }
}

/// What stands between backticks is bold.
fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let rows = vec![Row { name: "a".into(), kind: "x | y".into(), meaning: "<b>\n`c`".into() }];
        let lines = ".so /etc/passwd\n\n\t'x \\fB -".to_owned();
        let blocks = vec![Block::Text(".TH".into()), Block::Lines(lines), Block::Rows(rows)];
        let page = Page { name: "p", summary: "s", blocks };
        assert!(
            page.markdown().contains("| `a` | x \\| y | &lt;b> `c` |\n"),
            "{}",
            page.markdown()
        );
        let man = page.man();
        let controls: Vec<&str> =
            man.lines().filter(|line| line.starts_with('.')).map(|l| &l[..3]).collect();
        assert!(!controls.contains(&".so") && man.contains("\\\\fB"), "{man}");
        assert_eq!(controls.iter().filter(|control| **control == ".TH").count(), 1, "{man}");
    }
}
