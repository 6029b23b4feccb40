//! Reads one image whole, to know whether all of it is what it was. What that costs whom is not for
//! here: points are known elsewhere.

use super::ahead::read_ahead;
use super::error::{Damage, ImageError};
use super::reader::{FrameTool, ImageReader};
use std::io;

impl ImageReader {
    /// Reads every frame, needed or not, and lists what is damaged. `progress` is told how many bytes of
    /// the file were checked since it was last told; its error ends the reading, and what was found until
    /// then comes back.
    ///
    /// # Errors
    /// The file cannot be read, which says nothing of what it holds; or there are no threads to do it.
    pub fn verify(
        &self,
        threads: usize,
        progress: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<Vec<Damage>, ImageError> {
        let frames = self.index().frames();
        let read = |number: usize, tool: &mut FrameTool, bytes: &mut Vec<u8>| {
            self.read_frame(number, tool, bytes)
        };
        read_ahead(threads, read, |ahead| {
            let (mut damage, mut asked) = (Vec::new(), 0);
            for frame in frames {
                while ahead.has_room() && asked < frames.len() {
                    ahead.ask(asked);
                    asked += 1;
                }
                match ahead.next() {
                    Ok(memory) => ahead.give_back(memory),
                    Err(ImageError::Damaged(found)) => damage.push(found),
                    Err(error) => return Err(error),
                }
                if progress(frame.stored_length.into()).is_err() {
                    break;
                }
            }
            Ok(damage)
        })
    }
}
