//! A connection between two sites, in memory, that goes wrong where a test says so: exactly there, on a
//! machine of any speed. Knows nothing of what is said over it.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the near end to the far one: what is asked and sent.
    There,
    /// From the far end to the near one: answers.
    Back,
}

/// What goes wrong in one direction. A message is what was written between two flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// After so many bytes the connection is gone, for both directions.
    CutAfter(usize),
    /// After so many bytes nothing arrives any more, and nobody is told: writers go on, readers wait until
    /// [`Link::cut`].
    HangAfter(usize),
    /// The message of this number (0 is the first) arrives after the one that follows it.
    Swap(usize),
    /// The message of this number never arrives.
    Lose(usize),
}

/// A connection, as the test sees it.
#[derive(Clone)]
pub struct Link {
    there: Arc<Direction>,
    back: Arc<Direction>,
}

/// One end of a connection. Dropped, it says goodbye: what was written arrives, then the end.
pub struct End {
    out: Arc<Direction>,
    into: Arc<Direction>,
}

struct Direction {
    flow: Mutex<Flow>,
    changed: Condvar,
}

#[derive(Default)]
struct Flow {
    faults: Vec<LinkFault>,
    /// Written and not flushed.
    written: Vec<u8>,
    /// Waits for the message after it.
    overtaken: Option<Vec<u8>>,
    arrived: VecDeque<u8>,
    messages: usize,
    /// Bytes that were sent, whether they arrived or not.
    sent: usize,
    state: State,
    /// Whether a reader waits for what will never come.
    is_waited_for: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Hangs,
    Closed,
    Cut,
}

impl Link {
    /// A connection, and its near and its far end.
    pub fn with(faults: &[(Way, LinkFault)]) -> (Self, End, End) {
        let direction = |way: Way| {
            let own = faults.iter().filter(|(of, _)| *of == way).map(|(_, fault)| *fault);
            let flow = Flow { faults: own.collect(), ..Flow::default() };
            Arc::new(Direction { flow: Mutex::new(flow), changed: Condvar::new() })
        };
        let link = Self { there: direction(Way::There), back: direction(Way::Back) };
        let near = End { out: link.there.clone(), into: link.back.clone() };
        let far = End { out: link.back.clone(), into: link.there.clone() };
        (link, near, far)
    }

    /// Breaks the connection now. What has arrived can still be read.
    pub fn cut(&self) {
        self.there.end(State::Cut);
        self.back.end(State::Cut);
    }

    /// Returns when somebody waits for bytes of a direction that hangs.
    pub fn until_it_hangs(&self, way: Way) {
        let direction = self.direction(way);
        let mut flow = direction.flow();
        while !(flow.state == State::Hangs && flow.arrived.is_empty() && flow.is_waited_for) {
            flow = direction.changed.wait(flow).unwrap();
        }
    }

    /// The bytes that were sent in a direction, whether they arrived or not.
    pub fn sent(&self, way: Way) -> usize {
        self.direction(way).flow().sent
    }

    fn direction(&self, way: Way) -> &Direction {
        match way {
            Way::There => &self.there,
            Way::Back => &self.back,
        }
    }
}

impl Direction {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap()
    }

    /// What has ended stays as it ended.
    fn end(&self, state: State) {
        let mut flow = self.flow();
        if !matches!(flow.state, State::Closed | State::Cut) {
            flow.state = state;
        }
        self.changed.notify_all();
    }
}

impl Flow {
    fn send(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let message = std::mem::take(&mut self.written);
        let number = self.messages;
        self.messages += 1;
        if self.faults.contains(&LinkFault::Lose(number)) {
            self.sent += message.len();
        } else if self.faults.contains(&LinkFault::Swap(number)) {
            self.overtaken = Some(message);
            return;
        } else {
            self.carry(&message);
        }
        self.let_the_overtaken_arrive();
    }

    fn let_the_overtaken_arrive(&mut self) {
        if let Some(message) = self.overtaken.take() {
            self.carry(&message);
        }
    }

    fn carry(&mut self, message: &[u8]) {
        let sent = self.sent;
        self.sent += message.len();
        let stop = self.faults.iter().filter_map(|fault| match fault {
            LinkFault::CutAfter(at) => Some((*at, State::Cut)),
            LinkFault::HangAfter(at) => Some((*at, State::Hangs)),
            _ => None,
        });
        let stop = stop.filter(|(at, _)| *at <= self.sent).min_by_key(|(at, _)| *at);
        let arrives = stop.map_or(message.len(), |(at, _)| at.saturating_sub(sent));
        if self.state == State::Open {
            self.arrived.extend(&message[..arrives.min(message.len())]);
        }
        if let (State::Open, Some((_, state))) = (self.state, stop) {
            self.state = state;
        }
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut flow = self.into.flow();
        while flow.arrived.is_empty() && matches!(flow.state, State::Open | State::Hangs) {
            flow.is_waited_for = true;
            self.into.changed.notify_all();
            flow = self.into.changed.wait(flow).unwrap();
        }
        flow.is_waited_for = false;
        if flow.arrived.is_empty() && flow.state == State::Cut {
            return Err(ErrorKind::ConnectionReset.into());
        }
        flow.arrived.read(buffer)
    }
}

impl Write for End {
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let mut flow = self.out.flow();
        if flow.state == State::Cut {
            return Err(Error::from(ErrorKind::BrokenPipe));
        }
        flow.written.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> Result<()> {
        let mut flow = self.out.flow();
        flow.send();
        let state = flow.state;
        drop(flow);
        self.out.changed.notify_all();
        if state == State::Cut {
            self.into.end(State::Cut);
        }
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.flush();
        self.out.flow().let_the_overtaken_arrive();
        // A direction that hangs hides the goodbye, too.
        let out = self.out.flow().state;
        if out == State::Open {
            self.out.end(State::Closed);
        }
        // Whoever still writes here writes to nobody.
        let into = self.into.flow().state;
        if into == State::Open {
            self.into.end(State::Cut);
        }
    }
}
