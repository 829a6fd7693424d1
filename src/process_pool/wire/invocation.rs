//! A function with its arguments, before they are encoded.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::callable::Callable;
use crate::task::error::TaskError;

/// Encodes a call, of at most this many bytes.
type Encode<F, A> = fn(F, A, usize) -> Result<Call, TaskError>;

/// A function, its arguments, and how they become a call.
pub(in crate::process_pool) struct Invocation<F, A> {
    pub(in crate::process_pool) f: F,
    pub(in crate::process_pool) args: A,
    /// `None`: as a call to which nobody listens.
    encode: Option<Encode<F, A>>,
}

impl<F, A> Invocation<F, A> {
    pub(in crate::process_pool) fn new(f: F, args: A) -> Self {
        Self { f, args, encode: None }
    }

    /// Makes it one whose submitter listens to values of the type `P`.
    pub(in crate::process_pool) fn listened_to<P: 'static>(self) -> Self
    where
        F: Callable<A>,
        F::Output: Serialize,
        A: Serialize + DeserializeOwned,
    {
        Self { encode: Some(Call::listened_to::<F, A, P>), ..self }
    }

    /// Encodes it.
    ///
    /// # Errors
    ///
    /// The arguments can't be encoded, or are longer than this, or the function is not in this program.
    #[cfg_attr(any(not(target_os = "linux"), bowline_portable), expect(dead_code, reason = "nothing is sent"))]
    pub(in crate::process_pool) fn encode(self, max_size: usize) -> Result<Call, TaskError>
    where
        F: Callable<A>,
        F::Output: Serialize,
        A: Serialize + DeserializeOwned,
    {
        let encode = self.encode.unwrap_or(Call::of::<F, A>);
        encode(self.f, self.args, max_size)
    }
}
