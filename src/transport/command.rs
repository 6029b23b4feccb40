//! A command as a value: program, arguments, effect. Not a shell's line: nothing is quoted here.

use std::fmt;
use std::time::Duration;

/// One argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Shown in logs and errors.
    Plain(String),
    /// Shown nowhere. Other users of the machine can still read it in its process list.
    Secret(String),
}

/// What a command does to the world. A survey runs only those that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing.
    Reads,
    /// Changes something.
    Writes,
}

/// What becomes of a running command when this process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It goes on: it thaws a guest, or is in the middle of a task of PVE's that must not be torn.
    Own,
    /// It is killed, too: what it would do without us, the next run has cleaned up for already.
    Ours,
}

/// What a program finds in its environment besides what we have in ours. Nothing of it is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Names and values.
    pub set: Vec<(String, String)>,
    /// Names that it does not inherit.
    pub removed: Vec<String>,
}

/// A program with its arguments; displayed with secrets left out.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, looked up in PATH unless it is a path.
    pub program: String,
    /// Its arguments, none of which passes through a shell.
    pub args: Vec<Argument>,
    /// What it does to the world.
    pub effect: Effect,
    /// What it reads from standard input; nothing at all when none.
    pub input: Option<Vec<u8>>,
    /// How long it may run.
    pub deadline: Duration,
    /// How many bytes it may print when its output is collected.
    pub output_limit: usize,
    /// What becomes of it when this process is killed.
    pub lifetime: Lifetime,
}

/// Long enough for a loaded cluster to answer a question, short enough for a night of many.
const DEADLINE: Duration = Duration::from_secs(60);

/// Ten thousand guests of a cluster are 5 MB as JSON; what prints more than this has gone wild.
const OUTPUT_LIMIT: usize = 16 << 20;

impl Command {
    /// A command that changes nothing.
    pub fn reads(program: &str) -> Self {
        Self::new(program, Effect::Reads)
    }

    /// A command that changes something.
    pub fn writes(program: &str) -> Self {
        Self::new(program, Effect::Writes)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(Argument::Plain(arg.into()));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|arg| Argument::Plain(arg.into())));
        self
    }

    /// Adds an argument that is shown nowhere.
    #[must_use]
    pub fn secret(mut self, arg: impl Into<String>) -> Self {
        self.args.push(Argument::Secret(arg.into()));
        self
    }

    /// Gives the command something to read.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Sets how long it may run; 60 seconds otherwise.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how many bytes it may print when its output is collected; 16 MiB otherwise.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Lets it die with this process.
    #[must_use]
    pub fn ends_with_us(mut self) -> Self {
        self.lifetime = Lifetime::Ours;
        self
    }

    /// Program and arguments as they are, secrets included: for starting it, and for a script
    /// that compares.
    pub fn argv(&self) -> Vec<&str> {
        std::iter::once(self.program.as_str())
            .chain(self.args.iter().map(Argument::reveal))
            .collect()
    }

    fn new(program: &str, effect: Effect) -> Self {
        let program = program.to_owned();
        Self {
            program,
            args: Vec::new(),
            effect,
            input: None,
            deadline: DEADLINE,
            output_limit: OUTPUT_LIMIT,
            lifetime: Lifetime::Own,
        }
    }
}

impl Argument {
    /// The text as the program gets it.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Secret(text) => text,
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("***"),
            Self::Plain(text) if is_clear(text) => f.write_str(text),
            Self::Plain(text) => write!(f, "{text:?}"),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

/// As displayed: a derived form would show secrets and whole inputs.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

fn is_clear(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_nowhere() {
        let command = Command::reads("curl").args(["-H", "a b"]).secret("token").input("token");
        assert_eq!(command.to_string(), r#"curl -H "a b" ***"#);
        assert!(!format!("{command:?}").contains("token"));
        assert_eq!(command.argv(), ["curl", "-H", "a b", "token"]);
    }

    #[test]
    fn empty_and_odd_arguments_can_be_seen() {
        let command = Command::writes("p").args(["", "a\nb", "c'd", "ferry.x@y"]);
        assert_eq!(command.to_string(), r#"p "" "a\nb" "c'd" ferry.x@y"#);
        assert_eq!(command.effect, Effect::Writes);
    }
}
