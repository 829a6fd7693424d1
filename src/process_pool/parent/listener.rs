//! The code that hears of a task's progress.

use serde::de::DeserializeOwned;

use crate::process_pool::wire::blob::Attached;
use crate::process_pool::wire::codec;
use crate::task::error::CodecError;

/// The user's code that hears of a task's progress.
pub(in crate::process_pool) struct Listener(Hear);

type Hear = Box<dyn FnMut(&[u8], &mut Attached) -> Result<(), CodecError> + Send>;

impl Listener {
    /// Calls this with each value.
    pub(in crate::process_pool) fn new<P: DeserializeOwned>(mut call: impl FnMut(P) + Send + 'static) -> Self {
        Self(Box::new(move |bytes, attached| codec::decode_with::<P>(bytes, attached).map(&mut call)))
    }

    /// Calls it with the value that these bytes are. Runs the user's code, which may panic.
    ///
    /// # Errors
    ///
    /// They are no such value.
    #[cfg_attr(any(not(target_os = "linux"), bowline_portable), expect(dead_code, reason = "nothing is received"))]
    pub(in crate::process_pool) fn hear(&mut self, bytes: &[u8], attached: &mut Attached) -> Result<(), CodecError> {
        (self.0)(bytes, attached)
    }
}
