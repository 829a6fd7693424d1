//! The blobs that go with a message, and those that came with one.
//!
//! In the message a blob is its place among them, and its length. Serde's calls have no room for a blob, so it goes
//! through a variable of the thread: the codec knows a blob by the [`NAME`] of its type, asks, and then the type gives,
//! and the other way when it is read. No other format asks.

use std::cell::Cell;

use super::bytes::Blob;
use super::memory::{Descriptor, Sealed};

/// The name by which the codec knows a blob: by its address.
pub(in crate::process_pool::wire) static NAME: &str = "$bowline::Blob";

/// How many descriptors the kernel takes with one message.
pub(in crate::process_pool::wire) const MAX_ATTACHMENTS: usize = 253;

/// A blob on its way between the codec and its type.
#[derive(Default)]
enum Passing {
    #[default]
    Nothing,
    /// The codec asks for it.
    Wanted,
    Blob(Blob),
}

thread_local! {
    static PASSING: Cell<Passing> = const { Cell::new(Passing::Nothing) };
}

/// Puts this in place of what is there. `Nothing` at the end of the thread.
fn replace(passing: Passing) -> Passing {
    PASSING.try_with(|cell| cell.replace(passing)).unwrap_or_default()
}

/// Gives the codec a blob, if it has asked. Returns whether it had.
pub(super) fn give(blob: &Blob) -> bool {
    let asked = matches!(replace(Passing::Nothing), Passing::Wanted);
    if asked {
        replace(Passing::Blob(blob.clone()));
    }
    asked
}

/// Runs what may give a blob, and returns that, with the result.
pub(in crate::process_pool::wire) fn take_wanted<R>(write: impl FnOnce() -> R) -> (R, Option<Blob>) {
    /// Asks no more, whatever becomes of the question: the code that is asked may panic.
    struct Asked;

    impl Drop for Asked {
        fn drop(&mut self) {
            replace(Passing::Nothing);
        }
    }
    replace(Passing::Wanted);
    let _asked = Asked;
    let written = write();
    (written, take_passed())
}

/// Passes a blob to its type, which takes it next.
pub(in crate::process_pool::wire) fn pass(blob: Blob) {
    replace(Passing::Blob(blob));
}

/// Takes the blob that the other side has given.
pub(super) fn take_passed() -> Option<Blob> {
    match replace(Passing::Nothing) {
        Passing::Blob(blob) => Some(blob),
        Passing::Nothing | Passing::Wanted => None,
    }
}

/// The blobs that go with a message, each once.
#[derive(Default)]
pub(in crate::process_pool) struct Attachments {
    blobs: Vec<Blob>,
}

impl Attachments {
    pub(in crate::process_pool) const fn none() -> Self {
        Self { blobs: Vec::new() }
    }

    pub(in crate::process_pool) fn blobs(&self) -> &[Blob] {
        &self.blobs
    }

    pub(in crate::process_pool) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Forgets all but the first of them.
    pub(in crate::process_pool) fn truncate(&mut self, len: usize) {
        self.blobs.truncate(len);
    }

    /// Adds a blob, if it is not there. Returns its place.
    ///
    /// # Errors
    ///
    /// There are too many, as the text says.
    pub(in crate::process_pool::wire) fn place_of(&mut self, blob: Blob) -> Result<usize, String> {
        if let Some(place) = self.blobs.iter().position(|other| other.is(&blob)) {
            return Ok(place);
        }
        if self.blobs.len() == MAX_ATTACHMENTS {
            return Err(format!("it has more than {MAX_ATTACHMENTS} blobs, which is the maximum of one message"));
        }
        self.blobs.push(blob);
        Ok(self.blobs.len() - 1)
    }
}

/// A blob that came with a message.
enum Slot {
    /// Nobody has looked at it.
    Closed(Descriptor),
    Open(Blob),
    Refused,
}

/// The blobs that came with a message. Those that nobody asks for are closed with this.
pub(in crate::process_pool) struct Attached {
    slots: Vec<Slot>,
    /// Why the blobs of the message are not here.
    lost: Option<&'static str>,
    /// Whether the parent sent them, which is trusted.
    are_of_parent: bool,
}

impl Attached {
    pub(in crate::process_pool) const fn none() -> Self {
        Self { slots: Vec::new(), lost: None, are_of_parent: false }
    }

    /// The descriptors that came from a worker, or why they did not.
    pub(in crate::process_pool) fn new(came: Result<Vec<Descriptor>, &'static str>) -> Self {
        match came {
            Ok(descriptors) => Self { slots: descriptors.into_iter().map(Slot::Closed).collect(), ..Self::none() },
            Err(lost) => Self { lost: Some(lost), ..Self::none() },
        }
    }

    /// The descriptors that came from the parent, or why they did not.
    #[cfg_attr(any(not(target_os = "linux"), bowline_portable), expect(dead_code, reason = "nothing comes"))]
    pub(in crate::process_pool) fn of_parent(came: Result<Vec<Descriptor>, &'static str>) -> Self {
        Self { are_of_parent: true, ..Self::new(came) }
    }

    /// Returns the blob in this place, which was announced with this length.
    ///
    /// # Errors
    ///
    /// The text says why there is none.
    pub(in crate::process_pool::wire) fn blob(&mut self, place: usize, bytes: u64) -> Result<Blob, String> {
        if let Some(lost) = self.lost {
            return Err(lost.to_owned());
        }
        let slot = self.slots.get_mut(place).ok_or("a blob is named that did not come with the message")?;
        let blob = match std::mem::replace(slot, Slot::Refused) {
            Slot::Closed(descriptor) => {
                let open = if self.are_of_parent { Sealed::open_of_parent } else { Sealed::open };
                Blob::of(open(descriptor, bytes).map_err(|refusal| refusal.to_string())?)
            }
            Slot::Open(blob) if blob.len() as u64 == bytes => blob,
            Slot::Open(_) | Slot::Refused => return Err("a blob is named with different lengths".to_owned()),
        };
        *slot = Slot::Open(blob.clone());
        Ok(blob)
    }
}

#[cfg(all(test, not(loom), not(miri), target_os = "linux", not(bowline_portable)))]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_came_is_the_same_each_time_that_it_is_named_and_none_with_another_length() {
        let came = |blob: &Blob| blob.descriptor().try_clone_to_owned().expect("a descriptor");
        let blob = Blob::from_bytes(b"four").expect("memory");
        let mut attached = Attached::new(Ok(vec![came(&blob), came(&blob)]));
        let first = attached.blob(0, 4).expect("it came");
        assert!(attached.blob(0, 4).is_ok_and(|same| same.is(&first)));
        assert!(attached.blob(0, 5).is_err_and(|error| error.contains("different lengths")));
        assert!(attached.blob(1, 5).is_err_and(|error| error.contains("5 were announced")));
        assert!(attached.blob(2, 4).is_err_and(|error| error.contains("did not come")));
        // A message that contradicts itself is not believed again.
        assert!(attached.blob(0, 4).is_err() && attached.blob(1, 4).is_err());
    }
}
