//! One request of the API as a value: method, path, parameters. Sends nothing.

use std::fmt;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes something.
    Post,
    /// Removes something.
    Delete,
}

/// A request. Its parameters are shown in logs and errors: a login is no request of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it does.
    pub method: Method,
    /// The path below `/api2/json`, with a leading slash.
    pub path: String,
    /// Parameters by name; booleans are `1` and `0`.
    pub params: Vec<(&'static str, String)>,
    /// Whether a proxy that does not answer is asked again after a pause, as one that restarts.
    pub retried: bool,
}

impl Request {
    /// A request that reads.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::Get, path: path.into(), params: Vec::new(), retried: true }
    }

    /// A request that makes something.
    pub fn post(path: impl Into<String>) -> Self {
        Self { method: Method::Post, path: path.into(), params: Vec::new(), retried: true }
    }

    /// A request that removes something.
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::Delete, path: path.into(), params: Vec::new(), retried: true }
    }

    /// The same with a parameter.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    /// The same, asked once: whoever asks goes on without an answer.
    #[must_use]
    pub fn once(self) -> Self {
        Self { retried: false, ..self }
    }

    /// The node that the path is about, if it is about one.
    pub fn node(&self) -> Option<&str> {
        self.path.strip_prefix("/nodes/")?.split('/').next()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
