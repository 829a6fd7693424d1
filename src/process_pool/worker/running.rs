//! The task that this worker runs, and what it says while it runs.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::stream::{Sent, Stream};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;
use crate::process_pool::wire::blob::{Attachments, Blob};
use crate::process_pool::wire::call::too_long;
use crate::process_pool::wire::codec;
use crate::process_pool::wire::frame::{self, HEADER, Kind, LostDescriptors};
use crate::process_pool::wire::page::Page;
use crate::process_pool::wire::progress::{self, Count, MAX_UNHEARD, listened};
use crate::task::error::CodecError;

/// What this process serves by.
pub(super) struct Serving {
    page: &'static Page,
    pub(super) stream: Stream,
    /// The maximum length of a message.
    max_size: usize,
    /// How much the task has said that it runs.
    said: AtomicU64,
}

/// Once this process is a worker that serves.
static SERVING: OnceLock<Serving> = OnceLock::new();
/// The number of the task that it runs; 0 between tasks.
static ID: AtomicU64 = AtomicU64::new(0);

/// A task, by its number.
#[derive(Clone, Copy)]
pub(in crate::process_pool) struct Running {
    serving: &'static Serving,
    id: u64,
}

impl Running {
    pub(in crate::process_pool) fn should_stop(&self) -> bool {
        self.serving.page.is_asked_to_stop(self.id)
    }

    pub(in crate::process_pool) fn attempt(&self) -> u32 {
        self.serving.page.attempt(self.id)
    }

    /// Returns whether this process is a fork of the worker.
    pub(super) fn is_forked(&self) -> bool {
        self.serving.stream.is_forked()
    }

    fn is_over(&self) -> bool {
        ID.load(Relaxed) != self.id
    }

    /// Sends a value to the submitter, if it listens.
    ///
    /// # Errors
    ///
    /// The value is not what it listens to, or can't be sent.
    pub(in crate::process_pool) fn progress<P: Serialize + 'static>(&self, value: &P) -> Result<(), CodecError> {
        // In a fork nobody lets go of what another thread had locked.
        if self.is_forked() {
            return Ok(());
        }
        let Some(listened) = listened() else { return Ok(()) };
        if let Err(error) = listened.check::<P>() {
            // Perhaps those of the next task are of another type.
            return if self.is_over() { Ok(()) } else { Err(error) };
        }
        self.say(Kind::Progress, value)
    }

    /// Returns whether this is the same task as another.
    #[cfg(feature = "tracing")]
    pub(super) fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Sends what the parent hears of the task, unless the task has ended.
    ///
    /// # Errors
    ///
    /// It can't be sent.
    pub(super) fn say<P: Serialize>(&self, kind: Kind, value: &P) -> Result<(), CodecError> {
        let (mut frame, mut attachments) = (vec![0; HEADER], Attachments::none());
        codec::encode_with(value, &mut frame, &mut attachments)?;
        let length = frame.len() - HEADER;
        if length > self.serving.max_size {
            return Err(too_long(
                "the task's progress takes",
                length,
                self.serving.max_size,
                std::any::type_name::<P>(),
            ));
        }
        let blobs = attachments.blobs();
        let checksum = frame::checksum(&frame[HEADER..]);
        let header = frame::header_with(kind, self.id, length as u32, checksum, blobs.len() as u8);
        frame[..HEADER].copy_from_slice(&header);
        let descriptors: Vec<_> = blobs.iter().map(Blob::descriptor).collect();
        let weight = progress::weight(length, blobs.len());
        if !self.reserve(weight) {
            return Ok(());
        }
        match self.serving.stream.send_with_patience(&frame, &descriptors, Instant::now(), || self.is_over()) {
            Ok(Sent::Nothing(error)) => {
                self.count(weight.wrapping_neg(), |_| true);
                Err(CodecError::new(format!("{}: {error}", LostDescriptors::Withheld)))
            }
            // If it was not sent, the task has ended, or the process is about to.
            Ok(Sent::All | Sent::TooLate) | Err(_) => Ok(()),
        }
    }

    /// Waits until the parent has heard so much that the task may say more, and counts this. Returns whether it may: not if the task has
    /// ended meanwhile, or is to stop and would have to wait.
    fn reserve(&self, weight: u32) -> bool {
        let has_room = |said: u32| said.wrapping_sub(self.serving.page.heard(self.id)) < MAX_UNHEARD;
        let mut pause = Duration::from_micros(20);
        loop {
            match self.count(weight, has_room) {
                Some(is_counted) if is_counted => return true,
                Some(_) if !self.should_stop() => {}
                _ => return false,
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    /// Counts what the task says, if this holds of what it has said before. Returns whether it does; `None` if the task has ended.
    fn count(&self, weight: u32, may: impl Fn(u32) -> bool) -> Option<bool> {
        let mut is_of = true;
        let more = |word| {
            let said = Count::of(word, self.id);
            is_of = said.is_some();
            said.filter(|&said| may(said)).map(|_| Count::plus(word, weight))
        };
        let counted = self.serving.said.fetch_update(Relaxed, Relaxed, more).is_ok();
        is_of.then_some(counted)
    }
}

/// Returns the task that this process runs.
pub(in crate::process_pool) fn running() -> Option<Running> {
    let id = ID.load(Relaxed);
    let serving = SERVING.get()?;
    (id != 0).then_some(Running { serving, id })
}

/// Notes by what this process serves.
pub(super) fn serves_by(page: &'static Page, stream: Stream, max_size: usize) -> &'static Serving {
    SERVING.get_or_init(|| Serving { page, stream, max_size, said: AtomicU64::new(0) })
}

/// Notes that a task begins; returns what notes its end when it is dropped.
pub(super) fn begin(id: u64) -> impl Drop {
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            ID.store(0, Relaxed);
        }
    }
    if let Some(serving) = SERVING.get() {
        serving.said.store(Count::none(id), Relaxed);
    }
    ID.store(id, Relaxed);
    End
}
