//! A frame that has arrived, with what came with it.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use super::descriptors::{Came, LostDescriptors};
use super::{Kind, NoMemory, USUAL_BUFFER};

/// A frame that has arrived, whose payload is dropped with it: a large one has the buffer to itself.
pub(crate) struct Message<'b> {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(super) bytes: Cow<'b, [u8]>,
    pub(super) payload: usize,
    pub(super) lost: Option<NoMemory>,
    pub(super) announced: u8,
    pub(super) descriptors: Came,
}

impl<'b> Message<'b> {
    /// Makes a message whose payload came in another way.
    pub(crate) fn with_payload(kind: Kind, id: u64, payload: &'b [u8]) -> Self {
        Self {
            kind,
            id,
            bytes: Cow::Borrowed(payload),
            payload: 0,
            lost: None,
            announced: 0,
            descriptors: Ok(Vec::new()),
        }
    }

    /// As [`with_payload`](Self::with_payload), of a payload that there may have been no memory for.
    pub(crate) fn with_own_payload(kind: Kind, id: u64, payload: Result<Vec<u8>, NoMemory>) -> Self {
        let lost = payload.as_ref().err().copied();
        let bytes = Cow::Owned(payload.unwrap_or_default());
        Self { kind, id, bytes, payload: 0, lost, announced: 0, descriptors: Ok(Vec::new()) }
    }

    /// Returns the payload. Empty if it was [lost](Self::lost).
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.payload..]
    }

    /// Returns the bytes that end with the payload, and where the payload begins.
    ///
    /// # Errors
    ///
    /// There is no memory for it, or there [was](Self::lost) none.
    pub(crate) fn into_payload(self) -> Result<(Vec<u8>, usize), NoMemory> {
        if let Some(lost) = self.lost {
            return Err(lost);
        }
        match self.bytes {
            Cow::Borrowed(bytes) => {
                let (payload, mut own) = (&bytes[self.payload..], Vec::new());
                own.try_reserve_exact(payload.len()).map_err(|_| NoMemory { bytes: payload.len() })?;
                own.extend_from_slice(payload);
                Ok((own, 0))
            }
            Cow::Owned(mut bytes) => {
                if bytes.capacity() - bytes.len() > USUAL_BUFFER {
                    bytes.shrink_to_fit();
                }
                Ok((bytes, self.payload))
            }
        }
    }

    /// Returns how many descriptors the frame announces, whether they came or not.
    pub(crate) fn announced(&self) -> usize {
        self.announced.into()
    }

    /// Returns the descriptors that came with the frame, once. Those that nobody takes are closed with it.
    ///
    /// # Errors
    ///
    /// They did not come.
    pub(crate) fn take_descriptors(&mut self) -> Result<Vec<OwnedFd>, LostDescriptors> {
        match &mut self.descriptors {
            Ok(descriptors) => Ok(std::mem::take(descriptors)),
            Err(lost) => Err(*lost),
        }
    }

    /// Returns why the payload is missing, if it was read and thrown away. Its checksum was right.
    pub(crate) fn lost(&self) -> Option<NoMemory> {
        self.lost
    }
}
