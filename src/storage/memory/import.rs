//! Applies a diff stream to a memory volume as `rbd import-diff` does: record by record, to the
//! present content, checking the base by its name only. Not a safe importer: callers are to be.

use super::Memory;
use super::fault::{Fault, Operation, error};
use super::stream::{Decoder, Record};
use super::world::{World, at};
use crate::model::{SnapshotIdentity, VolumeIdentity};
use crate::storage::{Changed, StorageError};
use std::io::{Read, Write};
use std::sync::mpsc;
use tokio::sync::oneshot;

type Ending = Result<(), StorageError>;

/// The end of a transfer of the memory driver.
#[derive(Debug)]
pub(in crate::storage) struct Transfer {
    pub(super) object: String,
    ending: oneshot::Receiver<Ending>,
    killed: bool,
    /// Keeps a stream that a test lets stand still; gone, the stream ends.
    pub(super) still: Option<mpsc::Sender<()>>,
    /// What an export came from, and must still be there at its end.
    pub(super) source: Option<Source>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub memory: Memory,
    pub volume: String,
    pub snapshots: Vec<SnapshotIdentity>,
}

impl Transfer {
    pub(super) fn new(object: &str) -> (oneshot::Sender<Ending>, Self) {
        let (sender, ending) = oneshot::channel();
        let object = object.to_owned();
        (sender, Self { object, ending, killed: false, still: None, source: None })
    }

    pub(in crate::storage) async fn wait(self) -> Ending {
        let broken_off = |why: &str| StorageError::Stream {
            object: self.object.clone(),
            why: why.to_owned(),
            changed: Changed::Partly,
        };
        if self.killed {
            return Err(broken_off("it was broken off"));
        }
        self.ending.await.unwrap_or_else(|_| Err(broken_off("its other end is gone")))?;
        self.source.map_or(Ok(()), |source| source.check())
    }

    pub(in crate::storage) fn kill(&mut self) {
        self.killed = true;
        self.still = None;
    }

    /// The other end of what keeps a stream that stands still.
    pub(super) fn keeps_still(&mut self) -> Stillness {
        let (still, stillness) = mpsc::channel();
        self.still = Some(still);
        Stillness(stillness)
    }
}

/// Ends when its transfer does.
pub(super) struct Stillness(mpsc::Receiver<()>);

impl Stillness {
    fn outlast(&self) {
        // Nothing is ever sent.
        let _ = self.0.recv();
    }
}

/// An export that stands still at its end.
pub(super) struct Still<R> {
    pub bytes: R,
    pub stillness: Stillness,
}

impl<R: Read> Read for Still<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.stillness.outlast();
        }
        Ok(count)
    }
}

impl Source {
    fn check(&self) -> Ending {
        let mut shared = self.memory.shared();
        let world = &mut shared.world;
        self.snapshots.iter().try_for_each(|s| world.snapshot(&self.volume, s).map(drop))
    }
}

/// The writing end of an import.
pub(super) struct Applier {
    memory: Memory,
    volume: String,
    identity: VolumeIdentity,
    decoder: Decoder,
    to: Option<String>,
    state: State,
    fault: Option<Fault>,
    passed: u64,
    sender: Option<oneshot::Sender<Ending>>,
    /// Where it stands still, when a test lets it.
    pub(super) stillness: Option<Stillness>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed(String),
}

impl Applier {
    pub(super) fn new(
        memory: Memory,
        (volume, identity): (&str, &VolumeIdentity),
        fault: Option<Fault>,
        sender: oneshot::Sender<Ending>,
    ) -> Self {
        Self {
            memory,
            volume: volume.to_owned(),
            identity: identity.clone(),
            decoder: Decoder::default(),
            to: None,
            state: State::Open,
            fault,
            passed: 0,
            sender: Some(sender),
            stillness: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some(Fault::Cut(most)) = self.fault {
            if self.passed + bytes.len() as u64 > most {
                return Err("injected by a test".to_owned());
            }
        }
        self.passed += bytes.len() as u64;
        if let (Some(Fault::Stalls(most)), Some(stillness)) = (self.fault, &self.stillness) {
            if self.passed > most {
                stillness.outlast();
                return Err("it was broken off while it stood still".to_owned());
            }
        }
        self.decoder.feed(bytes);
        while self.state == State::Open {
            match self.decoder.next()? {
                Some(record) => self.apply(record)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) -> Result<(), String> {
        let memory = self.memory.clone();
        let mut shared = memory.shared();
        let world = &mut shared.world;
        let gone = || "the volume is gone".to_owned();
        let facts = world.facts(&self.volume).filter(|facts| facts.identity == self.identity);
        let facts = facts.ok_or_else(gone)?;
        let content = &mut world.volume_mut(&self.volume).map_err(|_| gone())?.content;
        let size = content.size();
        let inside = |offset: u64, length: u64| match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(format!("it writes beyond the size at {offset}")),
        };
        match record {
            Record::From(name) if facts.snapshot(&name).is_none() => {
                return Err(format!("it begins at {name}, which the volume does not have"));
            }
            Record::To(name) if facts.snapshot(&name).is_some() => {
                return Err(format!("it ends at {name}, which the volume has already"));
            }
            Record::From(_) => {}
            Record::To(name) => self.to = Some(name),
            Record::Size(size) => content.resize(size),
            Record::Write { offset, .. } if self.swallows(offset) => {}
            Record::Write { offset, data } => {
                inside(offset, data.len() as u64)?;
                content.write(offset, &data);
            }
            Record::Zero { offset, length } => {
                inside(offset, length)?;
                content.zero(offset, length);
            }
            Record::End => self.end(world)?,
        }
        Ok(())
    }

    fn swallows(&self, at: u64) -> bool {
        match self.fault {
            Some(Fault::Swallows) => true,
            Some(Fault::SwallowsFrom(from)) => at >= from,
            _ => false,
        }
    }

    fn end(&mut self, world: &mut World) -> Result<(), String> {
        self.state = State::Ended;
        let Some(name) = self.to.take() else { return Ok(()) };
        world.create_snapshot(&self.volume, &name).map_err(|error| error.to_string())
    }

    fn ending(&self) -> Ending {
        let object = format!("{}:{}", self.memory.id(), self.volume);
        let stream = |why: &str| {
            let (why, changed) = (why.to_owned(), Changed::Partly);
            Err(StorageError::Stream { object: object.clone(), why, changed })
        };
        match (&self.state, self.fault) {
            (State::Failed(why), _) => stream(why),
            (State::Open, _) => stream("it ends without its end record"),
            (State::Ended, Some(Fault::After)) => {
                Err(error(Operation::Import, &at(&object, self.to.as_deref().unwrap_or_default())))
            }
            (State::Ended, _) => Ok(()),
        }
    }
}

impl Write for Applier {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let State::Failed(_) = self.state {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(why) => {
                self.state = State::Failed(why);
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            // Nobody waits for an import that was dropped.
            let _ = sender.send(self.ending());
        }
    }
}
